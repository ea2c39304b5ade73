"""The day-1 list of the migration, tried on the running suite: each thing green or red, with what was seen."""

import contextlib
import re
import secrets
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rapport.crm.v1 import connection_service_pb2, connection_service_pb2_grpc
from rapport.tenant.v1 import tenant_pb2, tenant_service_pb2, tenant_service_pb2_grpc

from cli.errors import CommandError
from cli.migration.report import Finding, bounded
from cli.migration.webhook_probes import BY_ADDRESS, CONFIGS, Probe, forged, proven, secret_of
from cli.operator import Operator
from servicekit.cache import Cache

if TYPE_CHECKING:
    import asyncpg

_SECONDS = 30.0
_SCANNED = 10_000
_TENANT_KEY = re.compile(rb"tenant:\{[0-9a-f-]{36}\}:")
_REFUSED = (400, 401)
_WHOLE = 100
_FAR = 10
_PROBE, _PROBE_NAME = "probe-", "Probe of the migration"

_PATIENCE = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '10s'"
"""A trial is worth no waiting of those who work."""

_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid) AS keyed
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('tenant', 'crm', 'tickets', 'recommendations') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the gateway is for clients, and the certificate that they trust."""

    https_url: str
    http_url: str
    ca_file: Path

    @contextlib.asynccontextmanager
    async def client(self) -> Any:
        """Give a client that trusts the suite's certificate and follows no redirect."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        async with httpx.AsyncClient(verify=context, timeout=_SECONDS) as client:
            yield client


async def unique_rows(connection: "asyncpg.Connection[Any]") -> Finding:
    """Try to store a second copy of a row of every table of tenants; nothing of it stays.

    What crashed the predecessor (`MultipleResultsFound`) was a second row where its code expected one.
    """
    import asyncpg

    sentence = "no second row can come where there is one (MultipleResultsFound): constraints are there and were tried"
    advice = "A constraint is missing: run the migrations (`rapport db migrate`), then see `rapport doctor`."
    tried, untried, open_tables = 0, [], []
    for table in await connection.fetch(_TABLES):
        name = table["name"]
        if not table["keyed"]:
            open_tables.append(f"{name}: has no unique index")
            continue
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(_PATIENCE)
            done = await connection.execute(
                f"INSERT INTO {name} ({table['columns']}) OVERRIDING SYSTEM VALUE "  # noqa: S608 - from the catalogue
                f"SELECT {table['columns']} FROM {name} LIMIT 1"
            )
        except asyncpg.UniqueViolationError:
            tried += 1
        except (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError):
            untried.append(f"{name}: was in use for too long to be tried")
        except asyncpg.PostgresError as error:
            open_tables.append(f"{name}: {type(error).__name__}")
        else:
            if done.endswith(" 0"):
                untried.append(f"{name}: has a unique index, and no rows yet to be tried with")
            else:
                open_tables.append(f"{name}: took a second copy of a row")
        finally:
            await transaction.rollback()
    state: Any = "red" if open_tables or not tried else "yellow" if untried else "green"
    if state == "yellow":
        advice = "Look again when these tables have rows."
    evidence = f"{tried} tables refused a second copy of a row, {len(untried)} could not be tried"
    return Finding(sentence, state, evidence, advice, (*bounded(open_tables), *bounded(untried)))


async def redirects(edge: Edge) -> Finding:
    """Ask for pages by HTTP."""
    wrong, seen = [], []
    async with edge.client() as client:
        for path in ("/", "/api/tickets?status=open", "/v1/tickets"):
            answer = await client.get(edge.http_url + path)
            place = answer.headers.get("location", "")
            seen.append(f"{path} → {answer.status_code}")
            if answer.status_code != httpx.codes.PERMANENT_REDIRECT or place != edge.https_url + path:
                wrong.append(f"{path}: {answer.status_code} {place}")
    advice = "See `RAPPORT_GATEWAY_MODE` and `…_HTTPS_PORT` in docs/gateway.md."
    return Finding(
        "what is asked for by HTTP is redirected to the same address by HTTPS",
        "red" if wrong else "green",
        ", ".join(seen),
        advice,
        tuple(wrong),
    )


async def webhooks(operator: Operator, edge: Edge) -> Finding:
    """Let a webhook of every provider in and refuse a forged one, in a shop that is erased afterwards.

    Shops that an interrupted check left are erased first.
    """
    slug = f"{_PROBE}{secrets.token_hex(4)}"
    tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
    made = tenant_pb2.Tenant(slug=slug, name=_PROBE_NAME, environment=tenant_pb2.Tenant.ENVIRONMENT_DEVELOPMENT)
    await _remove_left(operator, tenants)
    unbound = await operator.metadata()
    await tenants.CreateTenant(tenant_service_pb2.CreateTenantRequest(tenant=made), metadata=unbound, timeout=_SECONDS)
    try:
        rows = [await _answers(operator, edge, slug, provider) for provider in CONFIGS]
    finally:
        await _remove(operator, tenants, slug)
    async with edge.client() as client:
        unsigned = await client.post(f"{edge.https_url}/api/gorgias/webhook", json={"ticket": {"id": 1}})
    rows.append(("/api/gorgias/webhook without a credential", unsigned.status_code in _REFUSED, unsigned.status_code))
    wrong = [f"{name}: {status}" for name, good, status in rows if not good]
    return Finding(
        "webhooks of every provider are let in when they prove themselves, and refused with 401 when not",
        "red" if wrong else "green",
        ", ".join(f"{name} {status}" for name, _, status in rows),
        "`rapport webhook verify` says why one is refused; `rapport logs crm`.",
        tuple(wrong),
    )


async def _remove(operator: Operator, tenants: Any, slug: str) -> None:
    request = tenant_service_pb2.DeleteTenantRequest(tenant=slug)
    await tenants.DeleteTenant(request, metadata=await operator.metadata(), timeout=_SECONDS)
    erasing = tenant_service_pb2.EraseTenantRequest(tenant=slug)
    await tenants.EraseTenant(erasing, metadata=await operator.metadata(), timeout=_SECONDS)


async def _remove_left(operator: Operator, tenants: Any) -> None:
    token, left = "", []
    while True:
        request = tenant_service_pb2.ListTenantsRequest(page_size=200, page_token=token)
        page = await tenants.ListTenants(request, metadata=await operator.metadata(), timeout=_SECONDS)
        left += [one.slug for one in page.tenants if one.slug.startswith(_PROBE) and one.name == _PROBE_NAME]
        token = page.next_page_token
        if not token:
            break
    for slug in left:
        await _remove(operator, tenants, slug)


async def _answers(operator: Operator, edge: Edge, slug: str, provider: str) -> tuple[str, bool, str]:
    """Return the provider, whether both answers were right, and the statuses."""
    connections = operator.stub(connection_service_pb2_grpc.ConnectionServiceStub, "crm")
    secret = secret_of(provider)
    request = connection_service_pb2.CreateConnectionRequest(
        provider=provider, config=dict(CONFIGS[provider]), secrets=secret
    )
    answer = await connections.CreateConnection(request, metadata=await operator.metadata(slug), timeout=_SECONDS)
    url = edge.https_url + httpx.URL(answer.webhook_url).path
    async with edge.client() as client:
        good = await _send(client, proven(provider, url, secret.get("webhook_secret", "")))
        bad = await _send(client, forged(provider, url))
    how = "by its address" if provider in BY_ADDRESS else "signed"
    right = httpx.codes.is_success(good) and bad == httpx.codes.UNAUTHORIZED
    return provider, right, f"{how} {good}, forged {bad}"


async def _send(client: httpx.AsyncClient, probe: Probe) -> int:
    return (await client.post(probe.url, content=probe.body, headers=dict(probe.headers))).status_code


async def cache_keys(url: str) -> Finding:
    """Look at the keys that stand in Valkey."""
    import redis.asyncio as valkey

    sentence = "every key of the cache carries `tenant:`"
    # A cluster's address is one that only our own client reads.
    cache = await Cache.connect(url, service="migration") if "+cluster://" in url else None
    client: Any = cache.client if cache else valkey.Redis.from_url(url, socket_timeout=_SECONDS)
    seen, others = 0, []
    try:
        if cache:
            await cache.join()
        async for key in client.scan_iter(count=1000):
            seen += 1
            if not _TENANT_KEY.match(key):
                others.append(key.decode(errors="replace")[:60])
            if seen >= _SCANNED:
                break
    finally:
        await (cache.close() if cache else client.aclose())
    evidence = f"{seen:,} keys looked at" if seen else "there are no keys yet: nothing was read through the cache"
    state: Any = "red" if others else "green" if seen else "yellow"
    return Finding(sentence, state, evidence, "Read an inbox, then look again.", bounded(others))


async def guarded(name: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    """Return what a check found; one that cannot be made is red and says why by its kind, and the others go on."""
    import asyncpg
    import grpc
    from redis.exceptions import RedisClusterException, RedisError

    try:
        return await look()
    except CommandError as error:
        return Finding(name, "red", f"this could not be tried: {error.message}", "See `rapport doctor`.")
    except (
        *(httpx.HTTPError, OSError, TimeoutError, ValueError, KeyError),
        *(asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, RedisClusterException),
    ) as error:
        return Finding(name, "red", f"this could not be tried: {type(error).__name__}", "See `rapport doctor`.")
    except grpc.aio.AioRpcError as error:
        return Finding(name, "red", f"this could not be tried: {error.code().name}", "See `rapport doctor`.")


def failed_rate(name: str, percent: float, counts: Sequence[tuple[str, int, int]]) -> Finding:
    """Judge rates of failed requests: each a name, requests and failures.

    Among so few requests that a single failure is too many a rate says little: that is for a person to look at, unless
    it is ten times what is allowed.
    """
    asked = [(where, requests, failures, failures * 100 / requests) for where, requests, failures in counts if requests]
    if not asked:
        return Finding(name, "yellow", "there were no requests yet", "Check again when there was traffic.")
    evidence = ", ".join(
        f"{where}: {failures} of {requests:,} ({rate:.3f} %)" for where, requests, failures, rate in asked
    )
    few = [where for where, requests, *_ in asked if requests * percent < _WHOLE]
    red = any(rate >= percent * (_FAR if where in few else 1) for where, *_, rate in asked)
    if few and not red:
        evidence += f"; fewer than {_WHOLE / percent:,.0f} requests are too few to tell"
    state: Any = "red" if red else "yellow" if few else "green"
    return Finding(name, state, evidence, "`rapport logs` says which requests failed; look again after more traffic.")
