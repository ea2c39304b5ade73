"""What only a superuser can make: the database, and per service a schema and three roles.

`<service>_owner` owns the schema and runs migrations; `<service>_app` is what the running service uses: it owns nothing
and cannot bypass row-level security; `<service>_spanning` cannot log in: migrations give it the few functions that may
look across tenants. Everything here may be repeated.
"""

import asyncpg

from cli.suite.names import SERVICES


async def provision_roles(server_url: str, passwords: dict[str, str]) -> None:
    """Create the login roles with these passwords, and the roles without login; refresh passwords that changed.

    Args:
        server_url: a superuser's URL.
        passwords: the password of `<service>_owner` and `<service>_app` for each service, by role name.
    """
    connection = await asyncpg.connect(server_url)
    try:
        # A statement that fails is quoted in the server's log, and these hold passwords.
        await connection.execute("SET log_min_error_statement = 'panic'")
        for service in SERVICES:
            for role in (f"{service}_owner", f"{service}_app"):
                await _ensure_role(connection, role, "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE")
                await set_password(connection, role, passwords[role])
                await connection.execute(f"ALTER ROLE {role} SET search_path = {service}, public")
            await _ensure_role(connection, f"{service}_spanning", "NOLOGIN NOSUPERUSER NOBYPASSRLS")
            await connection.execute(f"GRANT {service}_spanning TO {service}_owner WITH INHERIT TRUE, SET TRUE")
    finally:
        await connection.close()


async def create_database(server_url: str, name: str, template: str = "template0") -> None:
    """Create a database unless it exists; with a template it starts as a copy of that one."""
    connection = await asyncpg.connect(server_url)
    try:
        exists = await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
        if not exists:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()


async def provision_database(database_url: str) -> None:
    """Make the schemas in a database and let each service's roles into their own schema only."""
    connection = await asyncpg.connect(database_url)
    try:
        name = await connection.fetchval("SELECT current_database()")
        async with connection.transaction():
            await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
            await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            for extension in ("pg_trgm", "vector"):
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension} WITH SCHEMA public")
            for service in SERVICES:
                owner, app, spanning = f"{service}_owner", f"{service}_app", f"{service}_spanning"
                await connection.execute(f'GRANT CONNECT ON DATABASE "{name}" TO {owner}, {app}')
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {service} AUTHORIZATION {owner}")
                await connection.execute(f"GRANT USAGE ON SCHEMA {service} TO {app}, {spanning}")
    finally:
        await connection.close()


async def _ensure_role(connection: asyncpg.Connection, role: str, attributes: str) -> None:
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f"CREATE ROLE {role} {attributes}")


async def set_password(connection: asyncpg.Connection, role: str, password: str) -> None:
    """Set a password; the server quotes it, because ALTER ROLE takes no parameters."""
    template = "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)"
    await connection.execute(await connection.fetchval(template, role, password))
