"""Every vendor's table of webhooks against the pure functions: what proves itself is accepted, nothing else is."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin

import pytest

from services.crm.judging import Decision, Step, decide, weigh
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import (
    MOST_PARTS,
    STALE,
    NotUnderstoodError,
    Part,
    Proof,
    Provider,
    Request,
    WebhookSecret,
    judge,
)
from tests.support.vendors.cases import Case, Table
from tests.support.vendors.tables import TABLES

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
BASE = "https://rapport.example/webhooks"


def connection(table: Table) -> tuple[str, str, str]:
    """Return the secrets of a connection, of one that it had before and of another tenant's; each is fit for a path."""
    by_address = PROVIDERS[table.provider].proof is Proof.ADDRESS
    return tuple(f"{who}-0123456789abcdefghij" if by_address else table.secret() for who in ("own", "old", "other"))  # type: ignore[return-value]


def address(table: Table, secret: str) -> str:
    """Return the connection's address; its token is the secret where that is the proof."""
    token = secret if PROVIDERS[table.provider].proof is Proof.ADDRESS else "token"
    return f"{BASE}/{table.provider}/{token}"


def request_of(case: Case, url: str) -> Request:
    """Return a case as the inbox sees it."""
    return Request(case.method, urljoin(url, case.path_query) if case.path_query else url, case.headers, case.body)


def outcome(table: Table, case: Case, secrets: list[WebhookSecret], url: str) -> Decision:
    """Return what becomes of a request, as the inbox decides it."""
    provider, request = PROVIDERS[table.provider], request_of(case, url)
    return decide(provider, table.config, request, lambda: weigh(provider, request, secrets, NOW))


def rows(table: Table) -> list[tuple[Case, str, list[WebhookSecret]]]:
    """Return every case of a vendor with the address and the secrets that it meets; the old secret has ended."""
    own, old, other = connection(table)
    url = address(table, own)
    secrets = [WebhookSecret(1, old, LONG_AGO, NOW), WebhookSecret(2, own, LONG_AGO)]
    made = table.rows(own, NOW, url, other) + table.forged("the secret before, after its overlap", old, NOW, url)
    return [(case, url, secrets) for case in made]


EVERY = [
    pytest.param(table, *row, id=f"{table.provider}: {row[0].name}") for table in TABLES.values() for row in rows(table)
]


@pytest.mark.parametrize(("table", "case", "url", "secrets"), EVERY)
def test_webhook_is_let_in_only_with_its_proof(
    table: Table, case: Case, url: str, secrets: list[WebhookSecret]
) -> None:
    """Each row is decided as the table says, and what is let in was let in by the newest secret."""
    decision = outcome(table, case, secrets, url)
    verdict, let_in = decision.judgement.verdict, decision.step is not Step.REFUSED
    assert (let_in, len(decision.parts)) == (case.accepted, case.deliveries if case.accepted else 0), verdict
    if case.accepted and case.deliveries:
        assert (verdict.reason, verdict.secret_version) == ("verified", 2)
        assert verdict.signed


@pytest.mark.parametrize(("table", "case", "url", "secrets"), EVERY)
def test_no_request_makes_a_provider_fail(table: Table, case: Case, url: str, secrets: list[WebhookSecret]) -> None:
    """Whatever a request holds, it has parts that fit, an acknowledgement, and events or a reason why not."""
    provider = PROVIDERS[table.provider]
    request = request_of(case, url)
    parts = provider.parts(request)
    assert 0 < len(parts) <= MOST_PARTS
    # What nothing tells from a copy may only ever be a reason to fetch: a copy has no effect then.
    assert all(part.delivery or provider.proof is not Proof.SIGNATURE or provider.hint(request) for part in parts)
    assert provider.acknowledge(request).content_type
    for part in parts:
        understand(provider, request, part)
    # Also by itself a provider takes nothing without a secret; `judge` would not even ask it.
    assert not provider.authenticate(request, [], NOW).accepted
    judge(provider, request, secrets, NOW)


def test_a_body_is_read_once_by_each_reader() -> None:
    """However often a request is asked; another body is another request's."""
    seen: list[bytes] = []

    def length(body: bytes) -> int:
        seen.append(body)
        return len(body)

    request = Request("POST", BASE, (), b"abc")
    assert [request.read(length) for _ in range(3)] == [3, 3, 3]
    assert replace(request, body=b"").read(length) == 0
    assert seen == [b"abc", b""]


@pytest.mark.parametrize("provider", ["zendesk", "hubspot", "standard"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_signed_time_counts_for_five_minutes_both_ways(provider: str, sign: int) -> None:
    """A second before their end the request is let in, a second after it is refused, for its time alone."""
    table = TABLES[provider]
    own, _, other = connection(table)
    url = address(table, own)
    judged = {}
    for seconds in (270, 299, 301):
        signed_at = NOW + sign * timedelta(seconds=seconds)
        case = table.cases(own, signed_at, url, other)[0]
        judged[seconds] = outcome(table, case, [WebhookSecret(1, own, LONG_AGO)], url)
    assert [judged[seconds].step is Step.DELIVERIES for seconds in (270, 299, 301)] == [True, True, False]
    assert judged[301].judgement.verdict.reason == STALE


def understand(provider: Provider, request: Request, part: Part) -> None:
    """Translate a part; only one exception may come of it."""
    kept = request if part.body is None else Request(request.method, request.url, request.headers, part.body)
    for translate in (lambda: provider.events(kept, NOW), lambda: provider.hint(kept)):
        with suppress(NotUnderstoodError):
            translate()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_a_table_that_is_long_enough(provider: str) -> None:
    """Each provider, a new one too, has at least two positives and twelve negatives, all by different names."""
    made = [case for case, _, _ in rows(TABLES[provider])]
    assert sum(case.accepted for case in made) >= 2
    assert sum(not case.accepted for case in made) >= 12
    assert len({case.name for case in made}) == len(made)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_are_copies_of_each_other_as_the_table_says(table: Table) -> None:
    """Of the accepted rows so many are different deliveries; what nothing identifies is one each time."""
    provider = PROVIDERS[table.provider]
    parts = [
        part
        for case, url, _ in rows(table)
        if case.accepted and case.deliveries
        for part in provider.parts(request_of(case, url))
    ]
    named = {part.delivery for part in parts if part.delivery}
    assert len(named) + sum(not part.delivery for part in parts) == table.distinct


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_old_secret_is_accepted_during_the_overlap_and_its_version_told(table: Table) -> None:
    """While two versions are active each verifies what it signed, and the verdict says which it was."""
    own, old, other = connection(table)
    secrets = [WebhookSecret(1, old, LONG_AGO), WebhookSecret(2, own, LONG_AGO)]
    for version, text in ((1, old), (2, own)):
        url = address(table, text)
        for case in table.cases(text, NOW, url, other):
            if case.accepted and case.deliveries:
                verdict = outcome(table, case, secrets, url).judgement.verdict
                assert (verdict.accepted, verdict.secret_version) == (True, version), case.name
