"""Draws of quality control."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables of draws."""
    op.create_table(
        "quality_draw",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("group_id", sa.Integer, sa.ForeignKey("team.id")),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("rule", sa.String, nullable=False),
        sa.Column("limit", sa.Double, nullable=False),
        sa.Column("passed", sa.Boolean),
        sa.Column("figures", sa.JSON),
    )
    op.create_table(
        "drawn",
        sa.Column("draw_id", sa.Integer, sa.ForeignKey("quality_draw.id"), primary_key=True),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), primary_key=True),
        sa.Column("check_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False),
        sa.UniqueConstraint("check_id"),
    )


def downgrade() -> None:
    """Take the tables of draws away; tasks keep their states."""
    op.drop_table("drawn")
    op.drop_table("quality_draw")
