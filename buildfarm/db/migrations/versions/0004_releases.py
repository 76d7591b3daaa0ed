"""Releases, their files and how these come in.

Revision: 0004, after 0003, made 2026-11-24 14:55:53.170779.
"""

import sqlalchemy as sa
from alembic import op

from buildfarm.db import types

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
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
        "stage_file",
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("requires_python", sa.String(), nullable=True),
        sa.Column("metadata_sha256", sa.String(), nullable=True),
        sa.Column("findings", types.Json, nullable=False),
        sa.Column("since", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("built_at", types.UtcDateTime(), nullable=False),
        sa.Column("build_id", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["build_id"], ["build.id"], name=op.f("fk_stage_file_build_id")),
        sa.ForeignKeyConstraint(["stage"], ["channel.name"], name=op.f("fk_stage_file_stage")),
        sa.PrimaryKeyConstraint("stage", "filename", name=op.f("pk_stage_file")),
    )
    with op.batch_alter_table("stage_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_stage_file_build_id"), ["build_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("stage_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_stage_file_build_id"))
    op.drop_table("stage_file")
    with op.batch_alter_table("channel_entry", schema=None) as batch_op:
        batch_op.drop_index("ix_channel_entry_newest")
        batch_op.drop_index("ix_channel_entry_live")
    op.drop_table("channel_entry")
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
    op.drop_table("web_session")
    with op.batch_alter_table("upload_session", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_upload_session_project"))
        batch_op.drop_index(
            "ix_upload_session_live",
            sqlite_where=sa.text("status = 'open'"),
            postgresql_where=sa.text("status = 'open'"),
        )
    op.drop_table("upload_session")
    op.drop_table("release")
