"""Project, people, slides, tasks, labels with versions, leases, remarks and the log that is only added to."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REFUSE = "the log is only added to"


def upgrade() -> None:
    """Make the tables, and the triggers that keep the log as it is."""
    op.create_table(
        "project",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("classes", sa.JSON, nullable=False),
        sa.Column("guideline", sa.String, nullable=False),
        sa.Column("prelabels_allowed", sa.Boolean, nullable=False),
        sa.Column("unblinded", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
    )
    op.create_table(
        "team",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("group_id", sa.Integer, sa.ForeignKey("team.id")),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("trained", sa.Boolean, nullable=False),
    )
    op.create_table(
        "slide",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("path", sa.String, nullable=False, unique=True),
        sa.Column("patient", sa.String, nullable=False),
        sa.Column("split", sa.String, nullable=False),
        sa.Column("mpp", sa.Double),
        sa.Column("answer", sa.JSON),
    )
    op.create_table(
        "task",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slide_id", sa.Integer, sa.ForeignKey("slide.id"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("labeller_id", sa.Integer, sa.ForeignKey("person.id")),
        sa.Column("reviewer_id", sa.Integer, sa.ForeignKey("person.id")),
        sa.Column("seconds", sa.Double, nullable=False),
    )
    op.create_index("ix_task_slide", "task", ["slide_id"])
    op.create_index("ix_task_labeller", "task", ["labeller_id"])
    op.create_table(
        "label",
        sa.Column("uuid", sa.String, primary_key=True),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("geometry", sa.JSON, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
    )
    op.create_index("ix_label_task", "label", ["task_id"])
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id")),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id")),
        sa.Column("act", sa.String, nullable=False),
        sa.Column("before", sa.String, nullable=False),
        sa.Column("after", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("ix_event_task", "event", ["task_id"])
    op.create_table(
        "lease",
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("session", sa.String, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
    )
    op.create_table(
        "remark",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("task_id", sa.Integer, sa.ForeignKey("task.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("x_um", sa.Double),
        sa.Column("y_um", sa.Double),
        sa.Column("text", sa.String, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        for change in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER event_no_{change} BEFORE {change.upper()} ON event "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSE}'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION event_is_kept() RETURNS trigger AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSE}'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE TRIGGER event_kept BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_is_kept()"
        )


def downgrade() -> None:
    """Take all tables away."""
    for table in ("remark", "lease", "event", "label", "task", "slide", "person", "team", "project"):
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION event_is_kept()")
