"""What becomes of a request: what its proof comes to, and whether one that came too late for it is worth keeping.

`decide` is the whole decision, as the inbox takes it and the offline judge repeats it.

Every refused request costs the same comparisons, whether there is a connection behind its address or not and however
many secrets that has: what is missing is made up for with secrets that nobody holds.
"""

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from services.crm.connections import MOST_ACTIVE_SECRETS
from services.crm.predecessor import PredecessorScheme
from services.crm.providers.provider import (
    MAX_BODY_BYTES,
    STALE,
    Answer,
    Part,
    Provider,
    Request,
    Verdict,
    WebhookSecret,
    account_matches,
    judge,
)

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

    `late_version` is the version of the secret with which what is kept is signed; `predecessor` says that only a scheme
    of the predecessor accepts it.
    """

    verdict: Verdict
    interest: str = ""
    late_version: int = 0
    predecessor: bool = False


class Step(StrEnum):
    """What becomes of a request."""

    REFUSED = "refused"
    HANDSHAKE = "handshake"
    """It is answered although nothing proves it, and makes no work."""
    PING = "ping"
    """It proved itself, is acknowledged and makes no work."""
    DELIVERIES = "deliveries"
    """It proved itself, and its deliveries are to be stored."""


HANDSHAKE_RULE = "the vendor sends this unsigned by right; it is answered and makes no work"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request and by which judgement; `parts` are its deliveries, `answer` that to a handshake."""

    step: Step
    judgement: Judgement
    parts: Sequence[Part] = ()
    answer: Answer | None = None


def decide(
    provider: Provider,
    config: Mapping[str, str],
    request: Request,
    judged: Callable[[], Judgement],
    *,
    receives: bool = True,
) -> Decision:
    """Decide about a request: size, handshake, proof, ping, account. Never raises, whatever the request holds.

    `judged` is asked what the proof comes to unless that is not needed; where nothing could prove itself, it `receives`
    no handshakes either. An app's settings name no account, so that the accounts of its deliveries are left to others.
    """
    if len(request.body) > MAX_BODY_BYTES:
        return _refused("body_too_large", f"at most {MAX_BODY_BYTES} bytes")
    if receives and (answer := provider.handshake(request)) is not None:
        judgement = Judgement(Verdict.refused("handshake", rule=HANDSHAKE_RULE))
        return Decision(Step.HANDSHAKE, judgement, answer=answer)
    judgement = judged()
    if not judgement.verdict.accepted:
        return Decision(Step.REFUSED, judgement)
    if provider.pings(request):
        return Decision(Step.PING, judgement)
    parts = owned_parts(provider, config, request)
    if not parts:
        return _refused("account_mismatch", f"{provider.account_setting}", signed=judgement.verdict.signed)
    return Decision(Step.DELIVERIES, judgement, parts)


def _refused(reason: str, rule: str, *, signed: str = "") -> Decision:
    return Decision(Step.REFUSED, Judgement(Verdict.refused(reason, signed=signed, rule=rule)))


def owned_parts(provider: Provider, config: Mapping[str, str], request: Request) -> Sequence[Part]:
    """Return the deliveries of an authentic request; none when one of them is about an account that is not `config`'s.

    All go with the foreign one: a vendor puts no two accounts into what it sends to the address of one.
    """
    parts = provider.parts(request)
    return parts if all(is_owned(provider, config, part) for part in parts) else ()


def is_owned(provider: Provider, config: Mapping[str, str], part: Part) -> bool:
    """Return whether a delivery is about the account that settings name; about any where they name none."""
    return account_matches(config.get(provider.account_setting) if provider.account_setting else None, part)


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
    if verdict.reason != STALE:
        return Judgement(verdict)
    signed_by = (each.version for each in active if judge(provider, request, [each], now).reason == STALE)
    return Judgement(verdict, SIGNED_AT_ANOTHER_TIME, next(signed_by, 0))


def _version(secret: WebhookSecret) -> int:
    return secret.version


def refuse_stranger(provider: Provider, request: Request, now: datetime) -> None:
    """Do the work of judging a request behind whose address there is nobody."""
    weigh(provider, request, (), now)
