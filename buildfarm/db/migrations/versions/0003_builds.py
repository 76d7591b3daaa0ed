"""Deliveries, builds and who makes them.

Revision: 0003, after 0002, made 2026-11-24 14:55:53.170779.
"""

import sqlalchemy as sa
from alembic import op

from buildfarm.db import types

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_HAS_BODY = sa.text("body IS NOT NULL")
_MAY_BE_OF_REQUEST = sa.text("kind NOT IN ('push', 'tag')")


def upgrade() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=True),
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
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("headers", types.Json, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("body_sha256", sa.String(), nullable=False),
        sa.Column("steps", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_delivery_source_id")),
        sa.ForeignKeyConstraint(["connection_id"], ["source.id"], name=op.f("fk_delivery_connection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("source_id", "key", name=op.f("uq_delivery_source_id_key")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index("ix_delivery_ref", ["source_id", "ref", "id"], unique=False)
        batch_op.create_index("ix_delivery_newest", ["source_id", "id", "words"], unique=False)
        batch_op.create_index("ix_delivery_state", ["state", "id"], unique=False)
        batch_op.create_index("ix_delivery_words", ["id", "words"], unique=False)
        batch_op.create_index(
            "ix_delivery_body", ["id"], unique=False, sqlite_where=_HAS_BODY, postgresql_where=_HAS_BODY
        )
        batch_op.create_index(
            "ix_delivery_same",
            ["source_id", "body_sha256"],
            unique=False,
            sqlite_where=_MAY_BE_OF_REQUEST,
            postgresql_where=_MAY_BE_OF_REQUEST,
        )

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
        "build",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=True),
        sa.Column("compares_id", sa.String(), nullable=True),
        sa.Column("rebuilds_id", sa.String(), nullable=True),
        sa.Column("wheel_build", sa.Integer(), nullable=True),
        sa.Column("wave_id", sa.String(), nullable=True),
        sa.Column("pull_request_id", sa.String(), nullable=True),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
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
        sa.Column("commit_time", sa.BigInteger(), nullable=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cause", sa.String(), nullable=True),
        sa.Column("failure_class", sa.String(), nullable=True),
        sa.Column("first_error", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", types.UtcDateTime(), nullable=True),
        sa.Column("superseded_by", sa.String(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["compares_id"], ["build.id"], name=op.f("fk_build_compares_id")),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_build_delivery_id")),
        sa.ForeignKeyConstraint(
            ["pull_request_id"], ["pull_request.id"], name=op.f("fk_build_pull_request_id")
        ),
        sa.ForeignKeyConstraint(["rebuilds_id"], ["build.id"], name=op.f("fk_build_rebuilds_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_build_source_id")),
        sa.ForeignKeyConstraint(["superseded_by"], ["build.id"], name=op.f("fk_build_superseded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_build")),
        sa.UniqueConstraint("source_id", "number", name=op.f("uq_build_source_id_number")),
    )
    with op.batch_alter_table("build", schema=None) as batch_op:
        batch_op.create_index("ix_build_collapse", ["source_id", "commit"], unique=False)
        batch_op.create_index("ix_build_snapshot", ["source_id", "snapshot_sha256"], unique=False)
        batch_op.create_index("ix_build_release", ["project", "version"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_compares_id"), ["compares_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_delivery_id"), ["delivery_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_rebuilds_id"), ["rebuilds_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_source_id"), ["source_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_pull_request_id"), ["pull_request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_build_wave_id"), ["wave_id"], unique=False)

    op.create_table(
        "builder",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("tiers", types.Json, nullable=False),
        sa.Column("machine", sa.String(), nullable=True),
        sa.Column("emulates", types.Json, nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("seen_at", types.UtcDateTime(), nullable=True),
        sa.Column("drained_at", types.UtcDateTime(), nullable=True),
        sa.Column("facts", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["token.id"], name=op.f("fk_builder_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_builder")),
        sa.UniqueConstraint("name", name=op.f("uq_builder_name")),
    )

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
        sa.Column("input_sha256", sa.String(), nullable=True),
        sa.Column("execution", sa.String(), nullable=True),
        sa.Column("answered_by_id", sa.String(), nullable=True),
        sa.Column("memory_need", sa.BigInteger(), nullable=True),
        sa.Column("memory_peak", sa.BigInteger(), nullable=True),
        sa.Column("kept_by_id", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("hand_over", sa.Integer(), nullable=False),
        sa.Column("handed_over_at", types.UtcDateTime(), nullable=True),
        sa.Column("heartbeat_at", types.UtcDateTime(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=True),
        sa.Column("finished_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["answered_by_id"], ["job.id"], name=op.f("fk_job_answered_by_id")),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_job_build_id")),
        sa.ForeignKeyConstraint(["kept_by_id"], ["builder.id"], name=op.f("fk_job_kept_by_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_job_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("build_id", "target", name=op.f("uq_job_build_id_target")),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_job_answered_by_id"), ["answered_by_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_job_build_id"), ["build_id"], unique=False)
        batch_op.create_index("ix_job_state", ["state", "finished_at"], unique=False)
        batch_op.create_index("ix_job_with_builders", ["source_id", "state", "handed_over_at"], unique=False)
        outbox = sa.text("handed_over_at IS NULL AND kept_by_id IS NULL")
        batch_op.create_index(
            "ix_job_outbox",
            ["state", "queue", "source_id", "id"],
            unique=False,
            sqlite_where=outbox,
            postgresql_where=outbox,
        )
        handed_over = sa.text("state = 'queued' AND handed_over_at IS NOT NULL")
        kept = sa.text("kept_by_id IS NOT NULL")
        batch_op.create_index(
            "ix_job_kept",
            ["state", "kept_by_id"],
            unique=False,
            sqlite_where=kept,
            postgresql_where=kept,
        )
        batch_op.create_index(
            "ix_job_handed_over",
            ["queue"],
            unique=False,
            sqlite_where=handed_over,
            postgresql_where=handed_over,
        )

    op.create_table(
        "attempt",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("builder_id", sa.String(), nullable=False),
        sa.Column("token_digest", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("execution", sa.String(), nullable=False),
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
        "index_answer",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("ecosystem", sa.String(), nullable=False),
        sa.Column("asked", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id", "attempt"],
            ["attempt.job_id", "attempt.number"],
            name=op.f("fk_index_answer_job_id_attempt"),
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", "ecosystem", "asked", name=op.f("pk_index_answer")),
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


def downgrade() -> None:
    op.drop_table("log_segment")
    op.drop_table("index_answer")
    op.drop_table("dependency")
    with op.batch_alter_table("comparison", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_comparison_sha256"))
    op.drop_table("comparison")
    op.drop_table("artifact")
    op.drop_table("attempt")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index("ix_job_handed_over")
        batch_op.drop_index("ix_job_kept")
        batch_op.drop_index("ix_job_outbox")
        batch_op.drop_index("ix_job_with_builders")
        batch_op.drop_index("ix_job_state")
        batch_op.drop_index(batch_op.f("ix_job_build_id"))
        batch_op.drop_index(batch_op.f("ix_job_answered_by_id"))
    op.drop_table("job")
    op.drop_table("builder")
    with op.batch_alter_table("build", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_build_wave_id"))
        batch_op.drop_index(batch_op.f("ix_build_state"))
        batch_op.drop_index(batch_op.f("ix_build_pull_request_id"))
        batch_op.drop_index(batch_op.f("ix_build_source_id"))
        batch_op.drop_index(batch_op.f("ix_build_rebuilds_id"))
        batch_op.drop_index(batch_op.f("ix_build_delivery_id"))
        batch_op.drop_index(batch_op.f("ix_build_compares_id"))
        batch_op.drop_index("ix_build_release")
        batch_op.drop_index("ix_build_snapshot")
        batch_op.drop_index("ix_build_collapse")
    op.drop_table("build")
    op.drop_table("token")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_delivery_body")
        batch_op.drop_index("ix_delivery_words")
        batch_op.drop_index("ix_delivery_state")
        batch_op.drop_index("ix_delivery_newest")
        batch_op.drop_index("ix_delivery_ref")
    op.drop_table("delivery")
