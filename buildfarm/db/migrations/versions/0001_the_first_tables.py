"""Tables that stand by themselves: the index, its journal, people, sources, tasks.

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
        "image",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("interpreters", types.Json, nullable=False),
        sa.Column("toolchain", sa.String(), nullable=True),
        sa.Column("machine", sa.String(), nullable=True),
        sa.Column("registered_at", types.UtcDateTime(), nullable=False),
        sa.Column("retired_at", types.UtcDateTime(), nullable=True),
        sa.Column("archive_sha256", sa.String(), nullable=True),
        sa.Column("archive_bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
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
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("scm", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("projects", types.Json, nullable=False),
        sa.Column("branches", types.Json, nullable=False),
        sa.Column("tags", types.Json, nullable=False),
        sa.Column("paths", types.Json, nullable=False),
        sa.Column("pull_requests", sa.String(), nullable=False),
        sa.Column("scm_settings", types.Json, nullable=True),
        sa.Column("moved_to", sa.String(), nullable=True),
        sa.Column("tier", sa.String(), nullable=False),
        sa.Column("reads", types.Json, nullable=False),
        sa.Column("recipe", sa.String(), nullable=True),
        sa.Column("jobs_max", sa.Integer(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )

    op.create_table(
        "pull_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("author", sa.String(), nullable=True),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("head", sa.String(), nullable=True),
        sa.Column("head_repository", sa.String(), nullable=False),
        sa.Column("is_fork", sa.Boolean(), nullable=False),
        sa.Column("opened_at", types.UtcDateTime(), nullable=False),
        sa.Column("closed_at", types.UtcDateTime(), nullable=True),
        sa.Column("stage", sa.String(), nullable=True),
        sa.Column("stage_until", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_pull_request_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pull_request")),
        sa.UniqueConstraint("source_id", "number", name=op.f("uq_pull_request_source_id_number")),
        sa.UniqueConstraint("stage", name=op.f("uq_pull_request_stage")),
    )
    with op.batch_alter_table("pull_request", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pull_request_stage_until"), ["stage_until"], unique=False)

    op.create_table(
        "pull_request_approval",
        sa.Column("pull_request_id", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("approved_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pull_request_id"], ["pull_request.id"], name=op.f("fk_pull_request_approval_pull_request_id")
        ),
        sa.PrimaryKeyConstraint("pull_request_id", "commit", name=op.f("pk_pull_request_approval")),
    )

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
    op.execute("INSERT INTO journal_head (id, size) VALUES (1, 0)")


def downgrade() -> None:
    op.drop_table("user")
    with op.batch_alter_table("task", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_task_subject"))
        batch_op.drop_index("ix_task_outbox")
    op.drop_table("task")
    op.drop_table("pull_request_approval")
    with op.batch_alter_table("pull_request", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pull_request_stage_until"))
    op.drop_table("pull_request")
    op.drop_table("source")
    op.drop_table("pause")
    op.drop_table("promotion")
    with op.batch_alter_table("project", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_project_skeleton"))
        batch_op.drop_index(batch_op.f("ix_project_local_since"))
    op.drop_table("project")
    op.drop_table("namespace")
    op.drop_table("lease")
    op.drop_table("journal_node")
    op.drop_table("journal_head")
    with op.batch_alter_table("journal", schema=None) as batch_op:
        batch_op.drop_index("ix_journal_about")
    op.drop_table("journal")
    op.drop_table("image")
    op.drop_table("follower")
    op.drop_table("checkpoint")
    op.drop_table("channel")
    op.drop_table("attestation")
