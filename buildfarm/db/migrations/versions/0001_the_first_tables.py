"""The tables that refer to few others (journal, names, people, upstream), and the head of an empty journal.

Revision: 0001, after None, made 2026-11-24 14:55:53.170779.
"""

import sqlalchemy as sa
from alembic import op

from buildfarm.db import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "advisory",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("aliases", types.Json, nullable=False),
        sa.Column("modified", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisory")),
    )
    op.create_table(
        "attestation",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("is_reproduction", sa.Boolean(), nullable=False),
        sa.Column("answer", types.Json, nullable=False),
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("bundle_sha256", sa.String(), nullable=True),
        sa.Column("provenance_sha256", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "attempt", "filename", name=op.f("pk_attestation")),
    )
    op.create_table(
        "channel",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("parts", types.Json, nullable=False),
        sa.Column("policy", types.Json, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_channel")),
    )
    op.create_table(
        "checkpoint",
        sa.Column(
            "size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "follower",
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seen_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_follower")),
    )
    op.create_table(
        "guard_event",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("channel", "project", "rule", name=op.f("pk_guard_event")),
    )
    with op.batch_alter_table("guard_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_guard_event_last_at"), ["last_at"], unique=False)

    op.create_table(
        "image",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("interpreters", types.Json, nullable=False),
        sa.Column("registered_at", types.UtcDateTime(), nullable=False),
        sa.Column("retired_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("image_id", name=op.f("pk_image")),
    )
    op.create_table(
        "journal",
        sa.Column(
            "serial",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_journal")),
    )
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.create_index("ix_journal_about", ["project", "version", "serial"], unique=False)

    op.create_table(
        "journal_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_head")),
    )
    op.create_table(
        "journal_node",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column(
            "index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_journal_node")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("until", types.UtcDateTime(), nullable=False),
        sa.Column("since", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "lift",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("until", types.UtcDateTime(), nullable=True),
        sa.Column("ended_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lift")),
    )
    with op.batch_alter_table("lift", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lift_project"), ["project"], unique=False)

    op.create_table(
        "mirrored_page",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("until", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("channel", "project", name=op.f("pk_mirrored_page")),
    )
    op.create_table(
        "namespace",
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("owners", types.Json, nullable=False),
        sa.Column("since", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_namespace")),
    )
    op.create_table(
        "project",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("skeleton", sa.String(), nullable=False),
        sa.Column("local_since", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_project")),
    )
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_project_local_since"), ["local_since"], unique=False)
        batch_op.create_index(batch_op.f("ix_project_skeleton"), ["skeleton"], unique=False)

    op.create_table(
        "promotion",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("from_channel", sa.String(), nullable=False),
        sa.Column("to_channel", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("applied_at", types.UtcDateTime(), nullable=True),
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("filenames", types.Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_table(
        "release_licence",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("licences", types.Json, nullable=False),
        sa.PrimaryKeyConstraint("project", "version", name=op.f("pk_release_licence")),
    )
    op.create_table(
        "pause",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("since", types.UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pause")),
    )
    op.create_table(
        "source",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scm", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("projects", types.Json, nullable=False),
        sa.Column("branches", types.Json, nullable=False),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("reads", types.Json, nullable=False),
        sa.Column("recipe", sa.String(), nullable=True),
        sa.Column("jobs_max", sa.Integer(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "supplement",
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("requires_python", sa.String(), nullable=True),
        sa.Column("metadata_sha256", sa.String(), nullable=True),
        sa.Column("bundle_sha256", sa.String(), nullable=True),
        sa.Column("provenance_sha256", sa.String(), nullable=True),
        sa.Column("uploaded_at", types.UtcDateTime(), nullable=False),
        sa.Column("build_id", sa.String(), nullable=True),
        sa.Column("findings", types.Json, nullable=False),
        sa.Column("refused", sa.Text(), nullable=True),
        sa.Column("refused_by", sa.String(), nullable=True),
        sa.Column("rules_version", sa.Integer(), nullable=False),
        sa.Column("check_ms", sa.Integer(), nullable=True),
        sa.Column("check_tools", types.Json, nullable=False),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_supplement")),
    )
    with op.batch_alter_table("supplement", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_supplement_project"), ["project"], unique=False)
        batch_op.create_index(batch_op.f("ix_supplement_rules_version"), ["rules_version"], unique=False)
        batch_op.create_index(batch_op.f("ix_supplement_sha256"), ["sha256"], unique=False)

    op.create_table(
        "task",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("hand_over", sa.Integer(), nullable=False),
        sa.Column("handed_over_at", types.UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", types.UtcDateTime(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("kind", "subject", name=op.f("uq_task_kind_subject")),
    )
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.create_index("ix_task_outbox", ["state", "handed_over_at", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_task_subject"), ["subject"], unique=False)

    op.create_table(
        "upstream_file",
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("seen_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", types.UtcDateTime(), nullable=False),
        sa.Column("stored_at", types.UtcDateTime(), nullable=True),
        sa.Column("evicted_at", types.UtcDateTime(), nullable=True),
        sa.Column("metadata_sha256", sa.String(), nullable=True),
        sa.Column("findings", types.Json, nullable=False),
        sa.Column("refused", sa.Text(), nullable=True),
        sa.Column("refused_by", sa.String(), nullable=True),
        sa.Column("rules_version", sa.Integer(), nullable=False),
        sa.Column("check_ms", sa.Integer(), nullable=True),
        sa.Column("check_tools", types.Json, nullable=False),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_upstream_file")),
    )
    with op.batch_alter_table("upstream_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_upstream_file_project"), ["project"], unique=False)
        batch_op.create_index(batch_op.f("ix_upstream_file_rules_version"), ["rules_version"], unique=False)
        batch_op.create_index(batch_op.f("ix_upstream_file_sha256"), ["sha256"], unique=False)
        batch_op.create_index(batch_op.f("ix_upstream_file_stored_at"), ["stored_at"], unique=False)

    op.create_table(
        "upstream_health",
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("pages", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("files", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("failures", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("answered_at", types.UtcDateTime(), nullable=True),
        sa.Column("failed_at", types.UtcDateTime(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("upstream", name=op.f("pk_upstream_health")),
    )
    op.create_table(
        "upstream_page",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("skeleton", sa.String(), nullable=False),
        sa.Column("upstream", sa.String(), nullable=False),
        sa.Column("etag", sa.String(), nullable=True),
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("is_json", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", types.Packed(), nullable=False),
        sa.Column("fetched_at", types.UtcDateTime(), nullable=False),
        sa.Column("checked_at", types.UtcDateTime(), nullable=False),
        sa.Column("changed_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_upstream_page")),
    )
    with op.batch_alter_table("upstream_page", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_upstream_page_checked_at"), ["checked_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_upstream_page_skeleton"), ["skeleton"], unique=False)

    op.create_table(
        "registry_document",
        sa.Column("ecosystem", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("content", types.Packed(), nullable=False),
        sa.Column("checked_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("ecosystem", "path", name=op.f("pk_registry_document")),
    )
    op.create_table(
        "registry_file",
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("ecosystem", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("fetched_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", types.UtcDateTime(), nullable=False),
        sa.Column("stored_at", types.UtcDateTime(), nullable=True),
        sa.Column("evicted_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_registry_file")),
    )
    with op.batch_alter_table("registry_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_registry_file_sha256"), ["sha256"], unique=False)
        batch_op.create_index(batch_op.f("ix_registry_file_stored_at"), ["stored_at"], unique=False)

    op.create_table(
        "upstream_provenance",
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("fetched_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_upstream_provenance")),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("disabled_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
    )
    op.create_table(
        "wheel_rule",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("patterns", types.Json, nullable=False),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.Column("prereleases", sa.Boolean(), nullable=False),
        sa.Column("daily", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("changed_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_wheel_rule")),
    )
    op.create_table(
        "advisory_cover",
        sa.Column("advisory_id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("versions", types.Json, nullable=False),
        sa.Column("ranges", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["advisory_id"], ["advisory.id"], name=op.f("fk_advisory_cover_advisory_id")),
        sa.PrimaryKeyConstraint("advisory_id", "project", name=op.f("pk_advisory_cover")),
    )
    with op.batch_alter_table("advisory_cover", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_advisory_cover_project"), ["project"], unique=False)

    op.execute("INSERT INTO journal_head (id, size) VALUES (1, 0)")


def downgrade() -> None:
    with op.batch_alter_table("advisory_cover", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_advisory_cover_project"))

    op.drop_table("advisory_cover")
    op.drop_table("user")
    op.drop_table("wheel_rule")
    op.drop_table("upstream_provenance")
    with op.batch_alter_table("registry_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_registry_file_stored_at"))
        batch_op.drop_index(batch_op.f("ix_registry_file_sha256"))

    op.drop_table("registry_file")
    op.drop_table("registry_document")
    with op.batch_alter_table("upstream_page", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upstream_page_skeleton"))
        batch_op.drop_index(batch_op.f("ix_upstream_page_checked_at"))

    op.drop_table("upstream_page")
    op.drop_table("upstream_health")
    with op.batch_alter_table("upstream_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upstream_file_stored_at"))
        batch_op.drop_index(batch_op.f("ix_upstream_file_sha256"))
        batch_op.drop_index(batch_op.f("ix_upstream_file_rules_version"))
        batch_op.drop_index(batch_op.f("ix_upstream_file_project"))

    op.drop_table("upstream_file")
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_task_subject"))
        batch_op.drop_index("ix_task_outbox")

    op.drop_table("task")
    with op.batch_alter_table("supplement", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_supplement_sha256"))
        batch_op.drop_index(batch_op.f("ix_supplement_rules_version"))
        batch_op.drop_index(batch_op.f("ix_supplement_project"))

    op.drop_table("supplement")
    op.drop_table("source")
    op.drop_table("pause")
    op.drop_table("release_licence")
    op.drop_table("promotion")
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_project_skeleton"))
        batch_op.drop_index(batch_op.f("ix_project_local_since"))

    op.drop_table("project")
    op.drop_table("namespace")
    op.drop_table("mirrored_page")
    with op.batch_alter_table("lift", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lift_project"))

    op.drop_table("lift")
    op.drop_table("lease")
    op.drop_table("journal_node")
    op.drop_table("journal_head")
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.drop_index("ix_journal_about")

    op.drop_table("journal")
    op.drop_table("image")
    with op.batch_alter_table("guard_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_guard_event_last_at"))

    op.drop_table("guard_event")
    op.drop_table("follower")
    op.drop_table("checkpoint")
    op.drop_table("channel")
    op.drop_table("attestation")
    op.drop_table("advisory")
