"""The list of the first week: walls between shops, webhooks of every helpdesk, monitoring, and Envoy's own totals."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from cli.audit import list_audit_entries
from cli.connections import list_connections
from cli.deliveries import Filters, list_deliveries
from cli.migration.plan import Plan
from cli.migration.report import Finding, bounded
from cli.suite.folder import SuiteFolder

_SECONDS = 10.0
_WEEK = timedelta(days=7)
_ENTRIES = 1_000
_JOBS = tuple(f"rapport-{name}" for name in ("tenant", "crm", "tickets", "recommendations", "control-plane", "envoy"))
_WALLS = ("postgres.roles", "postgres.row_security")
_CROSSED = ("HOST_MISMATCH", "TENANT_MISMATCH")


async def walls(folder: SuiteFolder, plan: Plan) -> Finding:
    """Look whether the walls between shops stand, and who ran against them this week."""
    from cli.doctor.examination import examine_suite
    from servicekit.diagnosis import State

    found = {one.finding.check: one.finding for one in (await examine_suite(folder)).found}
    broken = [name for name in _WALLS if name not in found or found[name].state is not State.OK]
    since = (datetime.now(UTC) - _WEEK).isoformat()
    refused, told = 0, []
    for shop in plan.shops:
        for entry in await list_audit_entries(folder, shop.slug, "KIND_REFUSAL", _ENTRIES):
            if entry["create_time"] >= since and entry["outcome"] in _CROSSED:
                refused += int(entry["count"])
                told.append(
                    f"{shop.slug}: {entry['method'] or 'at the gateway'}: {entry['outcome']}, {entry['count']} times"
                )
    stands = "; ".join(found[name].summary for name in _WALLS if name in found)
    return Finding(
        "no isolation violation",
        "red" if broken else "green",
        f"{stands} {refused} requests with a credential of another shop were refused this week",
        "`rapport doctor` says what is wrong with the database.",
        bounded([*broken, *told]),
    )


async def webhooks_seen(folder: SuiteFolder, plan: Plan) -> Finding:
    """Look for a processed webhook of every connection in the last week."""
    since = (datetime.now(UTC) - _WEEK).isoformat()
    seen, silent = 0, []
    for shop in plan.shops:
        for connection in await list_connections(folder, shop.slug):
            filters = Filters(state="processed", connection=connection["id"], since=since)
            if await list_deliveries(folder, shop.slug, filters, 1):
                seen += 1
            else:
                silent.append(f"{shop.slug}: {connection['provider']} ({connection['id']})")
    return Finding(
        "webhooks of every helpdesk were seen and processed this week",
        "red" if silent else "green" if seen else "yellow",
        f"{seen} connections of {seen + len(silent)}",
        "Enter the connection's address at the helpdesk; `rapport connection test` and `rapport deliveries list` help.",
        bounded(silent),
    )


async def monitoring(prometheus: str) -> Finding:
    """Ask Prometheus whether it reads every process and has rules for alerts."""
    sentence = "monitoring is wired: every process is read and alerts are set"
    if not prometheus:
        return Finding(sentence, "red", "no Prometheus was named", "Name it: --prometheus http://…:9090.")
    async with httpx.AsyncClient(base_url=prometheus, timeout=_SECONDS) as client:
        targets = _data(await client.get("/api/v1/targets", params={"state": "active"}))["activeTargets"]
        groups = _data(await client.get("/api/v1/rules", params={"type": "alert"}))["groups"]
    read = {str(one["labels"].get("job", "")) for one in targets}
    missing = [f"no process of {job} is read" for job in _JOBS if job not in read]
    down = [str(one["labels"].get("instance", "")) for one in targets if one["health"] != "up"]
    alerts = sum(len(group["rules"]) for group in groups)
    return Finding(
        sentence,
        "green" if alerts and not down and not missing else "red",
        f"{len(targets) - len(down)} of {len(targets)} processes are read, {alerts} alerts are set",
        "See deploy/prometheus and docs/observability.md.",
        bounded([*missing, *down]),
    )


async def envoy_totals(folder: SuiteFolder) -> tuple[int, int]:
    """Return how many requests the suite's Envoy served since it began, and how many of them failed (5xx).

    Redirects to HTTPS are left out; behind a proxy that ends TLS, the listener for that one serves. Left out is also
    what the gateway answered before it was ready, since whoever starts it asks until it is.

    Raises:
        OSError: Envoy's admin interface does not answer.
    """
    from cli.suite.plans import admin_socket

    transport = httpx.AsyncHTTPTransport(uds=str(admin_socket(folder)))
    async with httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=_SECONDS) as client:
        expression = r"^http\.(https|proxied)\.(downstream_rq_(completed|5xx)|fault\.aborts_injected)$"
        answer = await client.get("/stats", params={"filter": expression, "format": "json"})
        found = {one["name"]: int(one["value"]) for one in answer.raise_for_status().json()["stats"] if "name" in one}
    served, failed, waiting = (
        sum(value for name, value in found.items() if name.endswith(f"_{kind}"))
        for kind in ("completed", "5xx", "injected")
    )
    return served - waiting, failed - waiting


def _data(answer: httpx.Response) -> Any:
    return answer.raise_for_status().json()["data"]
