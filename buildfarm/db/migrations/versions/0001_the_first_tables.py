"""The first tables, and the head of an empty journal.

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

    op.create_table(
        "delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=True),
        sa.Column("scm", sa.String(), nullable=False),
        sa.Column("received_at", types.UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=True),
        sa.Column("ref", sa.String(), nullable=True),
        sa.Column("commit", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("headers", types.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("steps", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_delivery_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("source_id", "key", name=op.f("uq_delivery_source_id_key")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delivery_source_id"), ["source_id"], unique=False)

    op.create_table(
        "release",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["project.name"], name=op.f("fk_release_project")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_release")),
        sa.UniqueConstraint("project", "key", name=op.f("uq_release_project_key")),
    )
    op.create_table(
        "source_credential",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("password", sa.String(), nullable=True),
        sa.Column("ssh_key", sa.Text(), nullable=True),
        sa.Column("known_hosts", sa.Text(), nullable=False),
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_source_credential_source_id")),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_source_credential")),
    )
    op.create_table(
        "source_secret",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_source_secret_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_secret")),
    )
    with op.batch_alter_table("source_secret", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_source_secret_source_id"), ["source_id"], unique=False)

    op.create_table(
        "token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("scopes", types.Json, nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=True),
        sa.Column("last_used_at", types.UtcDateTime(), nullable=True),
        sa.Column("revoked_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_token_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_token_digest")),
    )
    op.create_table(
        "upload_session",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("creator", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("notices", types.Json, nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.Column("ended_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["channel"], ["channel.name"], name=op.f("fk_upload_session_channel")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload_session")),
        sa.UniqueConstraint("token", name=op.f("uq_upload_session_token")),
    )
    with op.batch_alter_table("upload_session", schema=None) as batch_op:
        batch_op.create_index(
            "ix_upload_session_live",
            ["channel", "project", "key"],
            unique=True,
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        )
        batch_op.create_index(batch_op.f("ix_upload_session_project"), ["project"], unique=False)

    op.create_table(
        "web_session",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("csrf", sa.String(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_web_session_user_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_web_session")),
    )
    op.create_table(
        "build",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("compares_id", sa.String(), nullable=True),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=True),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=True),
        sa.Column("recipe_name", sa.String(), nullable=True),
        sa.Column("recipe_path", sa.String(), nullable=True),
        sa.Column("recipe_sha256", sa.String(), nullable=True),
        sa.Column("recipe", types.Json, nullable=True),
        sa.Column("not_followed", types.Json, nullable=True),
        sa.Column("snapshot_sha256", sa.String(), nullable=True),
        sa.Column("commit_time", sa.Integer(), nullable=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=True),
        sa.Column("first_error", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", types.UtcDateTime(), nullable=True),
        sa.Column("superseded_by", sa.String(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["compares_id"], ["build.id"], name=op.f("fk_build_compares_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_build_delivery_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_build_source_id")),
        sa.ForeignKeyConstraint(["superseded_by"], ["build.id"], name=op.f("fk_build_superseded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build")),
        sa.UniqueConstraint("source_id", "number", name=op.f("uq_build_source_id_number")),
    )
    with op.batch_alter_table("build", schema=None) as batch_op:
        batch_op.create_index("ix_build_collapse", ["source_id", "commit"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_compares_id"), ["compares_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_delivery_id"), ["delivery_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_source_id"), ["source_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_state"), ["state"], unique=False)

    op.create_table(
        "builder",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("tiers", types.Json, nullable=False),
        sa.Column("family", sa.String(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("seen_at", types.UtcDateTime(), nullable=True),
        sa.Column("drained_at", types.UtcDateTime(), nullable=True),
        sa.Column("facts", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["token.id"], name=op.f("fk_builder_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_builder")),
        sa.UniqueConstraint("name", name=op.f("uq_builder_name")),
    )
    op.create_table(
        "upload_file",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hashes", types.Json, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("attestations", sa.Text(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["upload_session.id"], name=op.f("fk_upload_file_session_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload_file")),
    )
    with op.batch_alter_table("upload_file", schema=None) as batch_op:
        batch_op.create_index(
            "ix_upload_file_live",
            ["session_id", "filename"],
            unique=True,
            sqlite_where=sa.text("status <> 'canceled'"),
            postgresql_where=sa.text("status <> 'canceled'"),
        )
        batch_op.create_index(batch_op.f("ix_upload_file_session_id"), ["session_id"], unique=False)

    op.create_table(
        "file",
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("requires_python", sa.String(), nullable=True),
        sa.Column("metadata_sha256", sa.String(), nullable=True),
        sa.Column("uploaded_at", types.UtcDateTime(), nullable=False),
        sa.Column("build_id", sa.String(), nullable=True),
        sa.Column("job_id", sa.String(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("bundle_sha256", sa.String(), nullable=True),
        sa.Column("provenance_sha256", sa.String(), nullable=True),
        sa.Column("reproduced_sha256", sa.String(), nullable=True),
        sa.Column("yanked", sa.Text(), nullable=True),
        sa.Column("withdrawn_at", types.UtcDateTime(), nullable=True),
        sa.Column("findings", types.Json, nullable=False),
        sa.Column("refused", sa.Text(), nullable=True),
        sa.Column("refused_by", sa.String(), nullable=True),
        sa.Column("rules_version", sa.Integer(), nullable=False),
        sa.Column("check_ms", sa.Integer(), nullable=True),
        sa.Column("check_tools", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_file_build_id")),
        sa.ForeignKeyConstraint(["release_id"], ["release.id"], name=op.f("fk_file_release_id")),
        sa.PrimaryKeyConstraint("filename", name=op.f("pk_file")),
    )
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_file_build_id"), ["build_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_file_release_id"), ["release_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_file_rules_version"), ["rules_version"], unique=False)
        batch_op.create_index(batch_op.f("ix_file_sha256"), ["sha256"], unique=False)

    op.create_table(
        "job",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("build_id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("required", sa.Boolean(), nullable=False),
        sa.Column("spec", types.Json, nullable=False),
        sa.Column("cause", sa.String(), nullable=True),
        sa.Column("failure_class", sa.String(), nullable=True),
        sa.Column("phase", sa.String(), nullable=True),
        sa.Column("first_error", sa.Text(), nullable=True),
        sa.Column("error_line", sa.Integer(), nullable=True),
        sa.Column("deadline_at", types.UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("hand_over", sa.Integer(), nullable=False),
        sa.Column("handed_over_at", types.UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", types.UtcDateTime(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_job_build_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_job_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("build_id", "target", name=op.f("uq_job_build_id_target")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_build_id"), ["build_id"], unique=False)
        batch_op.create_index(
            "ix_job_dispatch", ["source_id", "state", "handed_over_at", "urgency", "id"], unique=False
        )
        batch_op.create_index("ix_job_outbox", ["state", "handed_over_at", "id"], unique=False)

    op.create_table(
        "attempt",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("builder_id", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.Column("log_bytes", sa.Integer(), nullable=False),
        sa.Column("log_lines", sa.Integer(), nullable=False),
        sa.Column("log_sha256", sa.String(), nullable=True),
        sa.Column("outcome", types.Json, nullable=True),
        sa.ForeignKeyConstraint(["builder_id"], ["builder.id"], name=op.f("fk_attempt_builder_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempt")),
        sa.UniqueConstraint("token_digest", name=op.f("uq_attempt_token_digest")),
    )
    op.create_table(
        "channel_entry",
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("until", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["channel"], ["channel.name"], name=op.f("fk_channel_entry_channel")),
        sa.ForeignKeyConstraint(["filename"], ["file.filename"], name=op.f("fk_channel_entry_filename")),
        sa.PrimaryKeyConstraint("channel", "filename", "since", name=op.f("pk_channel_entry")),
    )
    with op.batch_alter_table("channel_entry", schema=None) as batch_op:
        batch_op.create_index("ix_channel_entry_live", ["filename", "channel", "until"], unique=False)
        batch_op.create_index("ix_channel_entry_newest", ["channel", "since", "filename"], unique=False)

    op.create_table(
        "artifact",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempt.job_id", "attempt.number"],
            name=op.f("fk_artifact_job_id_attempt"),
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", "filename", name=op.f("pk_artifact")),
    )
    op.create_table(
        "comparison",
        sa.Column("build_id", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("builder", sa.String(), nullable=False),
        sa.Column("rebuilt_sha256", sa.String(), nullable=True),
        sa.Column("rebuilt_job_id", sa.String(), nullable=True),
        sa.Column("rebuilt_attempt", sa.Integer(), nullable=True),
        sa.Column("rebuilt_builder", sa.String(), nullable=True),
        sa.Column("is_equal", sa.Boolean(), nullable=False),
        sa.Column("differences", types.Json, nullable=False),
        sa.Column("compared_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_comparison_build_id")),
        sa.PrimaryKeyConstraint("build_id", "filename", name=op.f("pk_comparison")),
    )
    with op.batch_alter_table("comparison", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_comparison_sha256"), ["sha256"], unique=False)

    op.create_table(
        "dependency",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("ecosystem", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("served_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempt.job_id", "attempt.number"],
            name=op.f("fk_dependency_job_id_attempt"),
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", "filename", name=op.f("pk_dependency")),
    )
    op.create_table(
        "log_segment",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("received", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("received_size", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("times", types.Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempt.job_id", "attempt.number"],
            name=op.f("fk_log_segment_job_id_attempt"),
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", "start", name=op.f("pk_log_segment")),
    )
    op.execute("INSERT INTO journal_head (id, size) VALUES (1, 0)")


def downgrade() -> None:
    op.drop_table("log_segment")
    op.drop_table("dependency")
    with op.batch_alter_table("comparison", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_comparison_sha256"))

    op.drop_table("comparison")
    op.drop_table("artifact")
    with op.batch_alter_table("channel_entry", schema=None) as batch_op:
        batch_op.drop_index("ix_channel_entry_newest")
        batch_op.drop_index("ix_channel_entry_live")

    op.drop_table("channel_entry")
    op.drop_table("attempt")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_outbox")
        batch_op.drop_index("ix_job_dispatch")
        batch_op.drop_index(batch_op.f("ix_job_build_id"))

    op.drop_table("job")
    with op.batch_alter_table("file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_file_sha256"))
        batch_op.drop_index(batch_op.f("ix_file_rules_version"))
        batch_op.drop_index(batch_op.f("ix_file_release_id"))
        batch_op.drop_index(batch_op.f("ix_file_build_id"))

    op.drop_table("file")
    with op.batch_alter_table("upload_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upload_file_session_id"))
        batch_op.drop_index(
            "ix_upload_file_live",
            sqlite_where=sa.text("status <> 'canceled'"),
            postgresql_where=sa.text("status <> 'canceled'"),
        )

    op.drop_table("upload_file")
    op.drop_table("builder")
    with op.batch_alter_table("build", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_build_state"))
        batch_op.drop_index(batch_op.f("ix_build_source_id"))
        batch_op.drop_index(batch_op.f("ix_build_delivery_id"))
        batch_op.drop_index(batch_op.f("ix_build_compares_id"))
        batch_op.drop_index("ix_build_collapse")

    op.drop_table("build")
    op.drop_table("web_session")
    with op.batch_alter_table("upload_session", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upload_session_project"))
        batch_op.drop_index(
            "ix_upload_session_live",
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        )

    op.drop_table("upload_session")
    op.drop_table("token")
    with op.batch_alter_table("source_secret", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_source_secret_source_id"))

    op.drop_table("source_secret")
    op.drop_table("source_credential")
    op.drop_table("release")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delivery_source_id"))

    op.drop_table("delivery")
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
