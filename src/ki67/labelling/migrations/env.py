"""Run the migrations over the connection that :mod:`ki67.labelling.database` hands over."""

from alembic import context

from ki67.labelling.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
