"""What a refusal costs, and what of the refused is worth keeping: the same work for all, and no guess is kept."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urljoin

import pytest

from services.crm.judging import COMPARISONS, INTERESTS, SECRET_ENDED, SIGNED_AT_ANOTHER_TIME, refuse_stranger, weigh
from services.crm.providers import PROVIDERS
from services.crm.providers.provider import Proof, Provider, Request, Verdict, WebhookSecret
from services.crm.providers.zendesk import ZENDESK, Zendesk
from tests.crm.zendesk_requests import LONG_AGO, SECRET, event, request, secret
from tests.support.vendors.cases import Case, Table
from tests.support.vendors.tables import TABLES

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
BAD = request(event(), NOW, text="nobody's secret")


class Counting(Zendesk):
    """Zendesk, which counts how often it judges and with how many secrets."""

    def __init__(self) -> None:
        self.judged: list[int] = []

    def authenticate(self, request: Request, secrets: Sequence[WebhookSecret], now: datetime) -> Verdict:
        """Judge, and count."""
        self.judged.append(len(secrets))
        return super().authenticate(request, secrets, now)


def ended(version: int, text: str = "ended secret", ago: timedelta = HOUR) -> WebhookSecret:
    """Return a secret that ended a while ago."""
    return WebhookSecret(version, text, LONG_AGO, NOW - ago)


KNOWN = {
    "nobody": [],
    "one secret": [secret()],
    "four secrets": [secret(f"secret {number}", number) for number in range(1, 5)],
    "one and one that ended": [ended(1), secret(version=2)],
    "one and many that ended": [*(ended(number) for number in range(1, 9)), secret(version=9)],
    "only one that ended": [ended(1)],
    "four and two that ended": [ended(1), ended(2), *(secret(f"s{number}", number) for number in range(3, 7))],
}


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN.keys())
@pytest.mark.parametrize("sent", [BAD, Request("POST", BAD.url, (), b"")], ids=["bad signature", "no signature"])
def test_every_refusal_costs_the_same_comparisons(known: list[WebhookSecret], sent: Request) -> None:
    """An address without a connection, and connections with any number of secrets, judge twice, with six in all."""
    provider = Counting()
    assert not weigh(provider, sent, known, NOW).verdict.accepted
    stranger = Counting()
    refuse_stranger(stranger, sent, NOW)
    assert (len(provider.judged), sum(provider.judged)) == (len(stranger.judged), sum(stranger.judged))
    assert sum(provider.judged) == COMPARISONS


def test_what_proves_itself_is_judged_once() -> None:
    """Only refusals pay for what makes them alike."""
    provider = Counting()
    assert weigh(provider, request(event(), NOW), [secret()], NOW).verdict.accepted
    assert provider.judged == [1]


def test_a_secret_that_ended_lately_makes_a_refusal_worth_keeping() -> None:
    """The verdict stays a refusal, and names the version that signed."""
    judgement = weigh(ZENDESK, request(event(), NOW), [ended(1, SECRET), secret("the new secret", 2)], NOW)
    assert not judgement.verdict.accepted
    assert (judgement.interest, judgement.late_version) == (SECRET_ENDED, 1)
    only = weigh(ZENDESK, request(event(), NOW), [ended(1, SECRET)], NOW)
    assert (only.verdict.reason, only.interest, only.verdict.accepted) == ("signature_mismatch", SECRET_ENDED, False)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_right_signature_at_another_time_is_worth_keeping(minutes: int) -> None:
    """Somebody's clock is wrong, or a proxy held the request back."""
    judgement = weigh(ZENDESK, request(event(), NOW + timedelta(minutes=minutes)), [secret()], NOW)
    assert (judgement.verdict.accepted, judgement.interest) == (False, SIGNED_AT_ANOTHER_TIME)
    several = [secret("another secret", 1), secret(version=2), secret("the newest secret", 3)]
    assert weigh(ZENDESK, request(event(), NOW + timedelta(minutes=minutes)), several, NOW).late_version == 2


@pytest.mark.parametrize(
    "sent",
    [BAD, request(event(), NOW - HOUR, text="nobody's"), Request("POST", BAD.url, (), b"")],
    ids=["forged", "forged and stale", "unsigned"],
)
def test_what_nobody_signed_is_never_kept(sent: Request) -> None:
    """Only who has, or had, a secret of the connection can fill its quarantine."""
    assert weigh(ZENDESK, sent, [ended(1), secret(version=2)], NOW).interest == ""


def table_rows() -> list[object]:
    """Return every refused row of every vendor with its connection's address and secret."""
    found: list[object] = []
    for name, table in TABLES.items():
        by_address = PROVIDERS[name].proof is Proof.ADDRESS
        own, other = (f"{who}-0123456789abcdefghij" if by_address else table.secret() for who in ("own", "other"))
        url = f"https://rapport.example/webhooks/{name}/{own if by_address else 'token'}"
        forged = table.forged("signed by another", other, NOW - HOUR, url)
        found += [pytest.param(table, case, url, own, id=f"{name}: {case.name}") for case in forged]
    return found


@pytest.mark.parametrize(("table", "case", "url", "own"), table_rows())
def test_no_vendors_forgery_is_kept_however_old_it_says_it_is(table: Table, case: Case, url: str, own: str) -> None:
    """A provider module judges the signature before the time, so that a stale forgery is only a forgery."""
    provider: Provider = PROVIDERS[table.provider]
    sent = Request(case.method, urljoin(url, case.path_query or url), case.headers, case.body)
    judgement = weigh(provider, sent, [WebhookSecret(1, own, LONG_AGO)], NOW)
    assert not judgement.verdict.accepted
    assert judgement.interest not in INTERESTS


def test_ids_of_strangers_secrets_never_verify() -> None:
    """What makes refusals alike accepts nothing, whatever version it looks like."""
    assert not weigh(ZENDESK, request(event(), NOW), [], NOW).verdict.accepted
    assert weigh(ZENDESK, request(event(), NOW), [], NOW).verdict.reason == "no_active_secret"
