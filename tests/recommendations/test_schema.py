"""The schema: what the migrations make is what the code believes, forwards and backwards."""

from servicekit import migrate
from servicekit.database import Database
from services.recommendations.product_tables import metadata
from tests.support.servers import DatabaseFor

_COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name, NOT a.attnotnull AS nullable,
       array_position(i.indkey::integer[], a.attnum::integer) AS key_place
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relnamespace = 'recommendations'::regnamespace AND c.relkind = 'r' AND c.relname NOT LIKE 'alembic%%'
ORDER BY 1, key_place, a.attnum
"""


async def test_the_tables_are_those_of_the_migrations(database_for: DatabaseFor) -> None:
    """Every table has the columns and the primary key that tables.py says, and there is no other table."""
    database = await Database.connect(database_for("recommendations").owner_url, schema="recommendations")

    async with database.spanning() as connection:
        made: dict[str, tuple[dict[str, bool], list[str]]] = {}
        for row in await connection.exec_driver_sql(_COLUMNS):
            columns, key = made.setdefault(row.table_name, ({}, []))
            columns[row.column_name] = row.nullable
            if row.key_place is not None:
                key.insert(row.key_place, row.column_name)
    await database.close()
    believed = {
        name: (
            {column.name: bool(column.nullable) for column in table.columns},
            [column.name for column in table.primary_key],
        )
        for name, table in metadata.tables.items()
    }
    assert made == believed
    assert all(key[0] == "tenant_id" for _, key in made.values())


async def test_migrations_go_back_and_forth(fresh_database_for: DatabaseFor) -> None:
    """Down to nothing and up again leaves a database that the service accepts."""
    fresh = fresh_database_for("recommendations")
    await migrate.downgrade(fresh.owner_url, "services.recommendations", "base")
    await migrate.upgrade(fresh.owner_url, "services.recommendations")
    database = await Database.connect(fresh.app_url, schema="recommendations")
    await database.check_role()
    await database.close()
