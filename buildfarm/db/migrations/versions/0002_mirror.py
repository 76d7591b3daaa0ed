"""What the farm knows of upstream, and its guard.

Revision: 0002, after 0001, made 2026-11-24 14:55:53.170779.
"""

import sqlalchemy as sa
from alembic import op

from buildfarm.db import types

revision = "0002"
down_revision = "0001"
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
        "release_licence",
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("licences", types.Json, nullable=False),
        sa.PrimaryKeyConstraint("project", "version", name=op.f("pk_release_licence")),
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


def downgrade() -> None:
    with op.batch_alter_table("advisory_cover", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_advisory_cover_project"))
    op.drop_table("advisory_cover")
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
    with op.batch_alter_table("supplement", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_supplement_sha256"))
        batch_op.drop_index(batch_op.f("ix_supplement_rules_version"))
        batch_op.drop_index(batch_op.f("ix_supplement_project"))
    op.drop_table("supplement")
    op.drop_table("release_licence")
    op.drop_table("mirrored_page")
    with op.batch_alter_table("lift", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lift_project"))
    op.drop_table("lift")
    with op.batch_alter_table("guard_event", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_guard_event_last_at"))
    op.drop_table("guard_event")
    op.drop_table("advisory")
