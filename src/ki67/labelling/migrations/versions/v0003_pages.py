"""What the web pages need: whether a remark is settled, and the squares of a slide in which cells are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; remarks that are there are open."""
    op.add_column("remark", sa.Column("settled", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("slide", sa.Column("rois", sa.JSON))


def downgrade() -> None:
    """Take the columns away."""
    op.drop_column("remark", "settled")
    op.drop_column("slide", "rois")
