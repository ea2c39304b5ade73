"""What a request's proof comes to, and whether one that came too late for its proof is worth keeping.

Every refused request costs the same comparisons, whether there is a connection behind its address or not and however
many secrets that has: what is missing is made up for with secrets that nobody holds.
"""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from services.crm.connections import MOST_ACTIVE_SECRETS
from services.crm.predecessor import PredecessorScheme
from services.crm.providers.provider import STALE, Provider, Request, Verdict, WebhookSecret, judge

LATELY = timedelta(days=7)
"""How long ago a secret may have ended for what it signed to be kept in quarantine."""

_MOST_ENDED = 2

COMPARISONS = MOST_ACTIVE_SECRETS + _MOST_ENDED
"""With how many secrets a request is compared before it is refused."""

SECRET_ENDED = "SECRET_ENDED"  # noqa: S105 - a reason
SIGNED_AT_ANOTHER_TIME = "SIGNED_AT_ANOTHER_TIME"
INTERESTS = (SECRET_ENDED, SIGNED_AT_ANOTHER_TIME)
"""Why a request that is refused may be kept: its signature is right, but its secret or its time is over."""

# Of the form that Standard Webhooks wants, which all other schemes take as it is. Their version is nobody's.
_NOBODYS = 2**31
_STRANGERS = [
    WebhookSecret(
        _NOBODYS, "whsec_" + b64encode(secrets.token_bytes(32)).decode(), datetime(2000, 1, 1, tzinfo=UTC), None
    )
    for _ in range(COMPARISONS)
]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and where it refuses, why the request is kept nevertheless ("" if it is not).

    `late_version` is the version of the ended secret that it is signed with; `predecessor` says that only a scheme of
    the predecessor accepts it.
    """

    verdict: Verdict
    interest: str = ""
    late_version: int = 0
    predecessor: bool = False


def weigh(
    provider: Provider,
    request: Request,
    known: Sequence[WebhookSecret],
    now: datetime,
    *,
    predecessor: Sequence[WebhookSecret] = (),
) -> Judgement:
    """Judge a request by the secrets of which some are active, and when it is refused by those that ended lately.

    `predecessor` are secrets by which the predecessor's scheme is judged as well; none for almost all connections.
    """
    active = [secret for secret in known if secret.active(now)]
    verdict = judge(provider, request, active or _STRANGERS[:1], now)
    if verdict.accepted and active:
        return Judgement(verdict)
    ended = sorted((each for each in known if each.not_after is not None and each.not_after <= now), key=_version)
    ended = [replace(secret, not_after=None) for secret in ended[-_MOST_ENDED:]]
    strangers = _STRANGERS[: max(0, COMPARISONS - max(1, len(active)) - len(ended))]
    late = judge(provider, request, [*ended, *strangers], now)
    if predecessor and (old := judge(PredecessorScheme(provider.name), request, predecessor, now)).accepted:
        return Judgement(old, predecessor=True)
    if late.accepted and late.secret_version != _NOBODYS:
        return Judgement(verdict, SECRET_ENDED, late.secret_version)
    if not active:
        return Judgement(Verdict.refused("no_active_secret"))
    return Judgement(verdict, SIGNED_AT_ANOTHER_TIME if verdict.reason == STALE else "")


def _version(secret: WebhookSecret) -> int:
    return secret.version


def refuse_stranger(provider: Provider, request: Request, now: datetime) -> None:
    """Do the work of judging a request behind whose address there is nobody."""
    weigh(provider, request, (), now)
