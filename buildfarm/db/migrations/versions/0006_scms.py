"""What the farm was given for SCMs, and what they hold, announce and are told.

Revision: 0006, after 0005, made 2026-11-29 05:08:00.000000.
"""

import sqlalchemy as sa
from alembic import op

from buildfarm.db import types

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
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
        "sighting",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("first_refs", types.Json, nullable=True),
        sa.Column("next_at", types.UtcDateTime(), nullable=False),
        sa.Column("in_step_at", types.UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("code", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_sighting_source_id")),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_sighting")),
    )
    with op.batch_alter_table("sighting", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sighting_next_at"), ["next_at"], unique=False)

    op.create_table(
        "delivery_event",
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=True),
        sa.Column("commit", sa.String(), nullable=True),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_event_delivery_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_delivery_event_source_id")),
        sa.PrimaryKeyConstraint("delivery_id", "position", name=op.f("pk_delivery_event")),
    )
    with op.batch_alter_table("delivery_event", schema=None) as batch_op:
        batch_op.create_index("ix_delivery_event_commit", ["source_id", "commit"], unique=False)
        batch_op.create_index("ix_delivery_event_ref", ["source_id", "ref", "delivery_id"], unique=False)

    op.create_table(
        "forge_access",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("api_url", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("app_id", sa.String(), nullable=True),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", types.UtcDateTime(), nullable=True),
        sa.Column("hook_id", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_forge_access_source_id")),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_forge_access")),
    )

    op.create_table(
        "answer",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("build_id", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("context", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("request", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("remote_id", sa.String(), nullable=True),
        sa.Column("noted_at", types.UtcDateTime(), nullable=False),
        sa.Column("settled_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_answer_build_id")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_answer_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answer")),
    )
    with op.batch_alter_table("answer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_answer_build_id"), ["build_id"], unique=False)
        batch_op.create_index("ix_answer_newest", ["source_id", "commit", "context", "id"], unique=False)
        batch_op.create_index("ix_answer_settled", ["host", "settled_at"], unique=False)
        batch_op.create_index("ix_answer_state", ["source_id", "state", "settled_at"], unique=False)
        batch_op.create_index(
            "ix_answer_waiting",
            ["host", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )

    op.create_table(
        "answer_comment",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("context", sa.String(), nullable=False),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("comment_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_answer_comment_source_id")),
        sa.PrimaryKeyConstraint("source_id", "context", "request", name=op.f("pk_answer_comment")),
    )

    op.create_table(
        "answer_pause",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("since", types.UtcDateTime(), nullable=False),
        sa.Column("until", types.UtcDateTime(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_answer_pause")),
    )

    op.create_table(
        "hook_order",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("verb", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("health", types.Json, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("done_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_hook_order_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_order")),
    )
    with op.batch_alter_table("hook_order", schema=None) as batch_op:
        batch_op.create_index("ix_hook_order_newest", ["source_id", "id"], unique=False)

    op.create_table(
        "hook_watch",
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("next_at", types.UtcDateTime(), nullable=False),
        sa.Column("looked_at", types.UtcDateTime(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("code", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_hook_watch_source_id")),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_hook_watch")),
    )
    with op.batch_alter_table("hook_watch", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hook_watch_next_at"), ["next_at"], unique=False)

    op.create_table(
        "hook_healing",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("source_id", sa.String(), nullable=False),
        sa.Column("at", types.UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("carried", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_hook_healing_source_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hook_healing")),
    )
    with op.batch_alter_table("hook_healing", schema=None) as batch_op:
        batch_op.create_index("ix_hook_healing_newest", ["source_id", "id"], unique=False)

    op.create_table(
        "offered_repository",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("recipes", types.Json, nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("told_at", types.UtcDateTime(), nullable=False),
        sa.Column("looked_at", types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"], ["source.id"], name=op.f("fk_offered_repository_connection_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offered_repository")),
        sa.UniqueConstraint("connection_id", "url", name=op.f("uq_offered_repository_connection_id_url")),
    )


def downgrade() -> None:
    op.drop_table("offered_repository")
    with op.batch_alter_table("hook_healing", schema=None) as batch_op:
        batch_op.drop_index("ix_hook_healing_newest")
    op.drop_table("hook_healing")
    with op.batch_alter_table("hook_watch", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_hook_watch_next_at"))
    op.drop_table("hook_watch")
    with op.batch_alter_table("hook_order", schema=None) as batch_op:
        batch_op.drop_index("ix_hook_order_newest")
    op.drop_table("hook_order")
    op.drop_table("answer_pause")
    op.drop_table("answer_comment")
    with op.batch_alter_table("answer", schema=None) as batch_op:
        batch_op.drop_index("ix_answer_waiting")
        batch_op.drop_index("ix_answer_settled")
        batch_op.drop_index("ix_answer_newest")
        batch_op.drop_index(batch_op.f("ix_answer_build_id"))
    op.drop_table("answer")
    op.drop_table("forge_access")
    with op.batch_alter_table("delivery_event", schema=None) as batch_op:
        batch_op.drop_index("ix_delivery_event_ref")
        batch_op.drop_index("ix_delivery_event_commit")
    op.drop_table("delivery_event")
    with op.batch_alter_table("sighting", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sighting_next_at"))
    op.drop_table("sighting")
    with op.batch_alter_table("source_secret", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_source_secret_source_id"))
    op.drop_table("source_secret")
    op.drop_table("source_credential")
