"""The tables of rebuild waves.

Revision: 0005, after 0004, made 2026-11-28 19:30:00.000000.
"""

import sqlalchemy as sa
from alembic import op

from buildfarm.db import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wave",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("ended_at", types.UtcDateTime(), nullable=True),
        sa.Column("promotions", types.Json, nullable=False),
        sa.ForeignKeyConstraint(["channel"], ["channel.name"], name=op.f("fk_wave_channel")),
        sa.ForeignKeyConstraint(["id"], ["channel.name"], name=op.f("fk_wave_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wave")),
        sa.UniqueConstraint("number", name=op.f("uq_wave_number")),
    )
    with op.batch_alter_table("wave", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_wave_state"), ["state"], unique=False)

    op.create_table(
        "wave_member",
        sa.Column("wave_id", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("is_first", sa.Boolean(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("waits_for", types.Json, nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("build_id", sa.String(), nullable=False),
        sa.Column("rebuild_id", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_wave_member_build_id")),
        sa.ForeignKeyConstraint(["rebuild_id"], ["build.id"], name=op.f("fk_wave_member_rebuild_id")),
        sa.ForeignKeyConstraint(["wave_id"], ["wave.id"], name=op.f("fk_wave_member_wave_id")),
        sa.PrimaryKeyConstraint("wave_id", "project", name=op.f("pk_wave_member")),
    )
    with op.batch_alter_table("wave_member", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_wave_member_rebuild_id"), ["rebuild_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("wave_member", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_wave_member_rebuild_id"))

    op.drop_table("wave_member")
    with op.batch_alter_table("wave", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_wave_state"))

    op.drop_table("wave")
