"""Reader studies: slides, readers with an order each, and what they did, which is only added to."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_REFUSE = "what readers did is only added to"


def upgrade() -> None:
    """Make the tables, and the triggers that keep what readers did as it is."""
    op.create_table(
        "study",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("minutes", sa.Double, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("standard", sa.JSON),
        sa.Column("closed", sa.Double),
    )
    op.create_table(
        "study_slide",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("slide_id", sa.Integer, sa.ForeignKey("slide.id"), nullable=False),
        sa.Column("regions", sa.JSON, nullable=False),
        sa.UniqueConstraint("study_id", "slide_id"),
    )
    op.create_table(
        "reading",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.UniqueConstraint("study_id", "person_id"),
    )
    op.create_table(
        "reading_slide",
        sa.Column("reading_id", sa.Integer, sa.ForeignKey("reading.id"), primary_key=True),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("slide_id", sa.Integer, sa.ForeignKey("slide.id"), nullable=False),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("seen", sa.Double),
    )
    op.create_table(
        "reading_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("reading_id", sa.Integer, sa.ForeignKey("reading.id"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("act", sa.String, nullable=False),
        sa.Column("place", sa.Integer),
        sa.Column("percent", sa.Integer),
    )
    op.create_index("ix_reading_event_reading", "reading_event", ["reading_id"])
    if op.get_bind().dialect.name == "sqlite":
        for change in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER reading_event_no_{change} BEFORE {change.upper()} ON reading_event "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION reading_event_is_kept() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSE}'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE TRIGGER reading_event_kept BEFORE UPDATE OR DELETE ON reading_event "
            "FOR EACH ROW EXECUTE FUNCTION reading_event_is_kept()"
        )


def downgrade() -> None:
    """Take the tables of studies away, and all that was read with them."""
    for table in ("reading_event", "reading_slide", "reading", "study_slide", "study"):
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION reading_event_is_kept()")
