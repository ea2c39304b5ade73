"""The folder that alembic takes its environment from; nothing here is imported."""
