"""The audit trail: no act unseen, no refusal uncounted, and nothing of what was said."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import grpc
import pytest
from prometheus_client import REGISTRY
from rapport.tenant.v1.token_service_pb2 import AccessToken
from structlog.testing import capture_logs

from servicekit.audit import AuditTrail, Entry, Kind
from servicekit.errors import PreconditionError
from servicekit.ids import uuid7
from servicekit.layers.audit import AuditMissingError
from servicekit.server import start_server
from tests.servicekit.probe import OTHER_TENANT, SERVICE, TENANT, echo, registration, running
from tests.servicekit.waiting import until
from tests.support.tokens import Issuer
from tests.support.trail import KeptEntries, kept_trail

REFUSED = "rapport_credentials_refused_total"


class ShelfFullError(PreconditionError):
    """A refusal with a reason of its own."""


async def test_an_act_is_written_down_before_it_is_done_and_again_with_its_outcome() -> None:
    """While the servicer works the entry stands there without an outcome; afterwards it has one."""
    trail, kept = kept_trail()
    seen: list[str] = []

    async def act(request: Any, _context: Any) -> AccessToken:
        seen.extend(entry.outcome for entry in kept.all)
        return AccessToken(token=request.api_key)

    async with running(act, audit=trail) as probe:
        await probe.call("Act")
    assert seen == [""]
    (entry,) = kept.all
    assert (entry.kind, entry.tenant_id, entry.method) == (Kind.ACT, TENANT, f"{SERVICE}/Act")
    assert entry.outcome == "OK"
    assert entry.subject.startswith("key:")
    assert entry.request_id
    assert "hello" not in repr(entry), "what was said is nobody's business"


@pytest.mark.parametrize(
    ("raised", "outcome"), [(ShelfFullError("full"), "SHELF_FULL"), (KeyError("boom"), "INTERNAL")], ids=str
)
async def test_an_act_that_fails_is_kept_with_its_reason(raised: Exception, outcome: str) -> None:
    """A refused act and a broken one are acts too."""
    trail, kept = kept_trail()

    async def fail(_request: Any, _context: Any) -> AccessToken:
        raise raised

    async with running(fail, audit=trail) as probe:
        await probe.refusal("Act")
        await until(lambda: kept.all[0].outcome != "")
    assert [entry.outcome for entry in kept.all] == [outcome]


async def test_nothing_is_done_that_the_log_would_not_know_of() -> None:
    """With the log out of reach an act is refused as unavailable before it begins; other methods go on."""
    trail, kept = kept_trail()
    kept.error = ConnectionError("away")
    done: list[str] = []

    async def act(request: Any, _context: Any) -> AccessToken:
        done.append(request.api_key)
        return AccessToken()

    async with running(act, audit=trail) as probe:
        refusal = await probe.refusal("Act")
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "AUDIT_UNAVAILABLE")
        assert done == []
        await probe.call("Get")
    assert done == ["hello"]


async def test_an_outcome_that_cannot_be_written_is_written_later() -> None:
    """The caller of an act that is done hears so, and its outcome is tried again."""
    trail, kept = kept_trail()

    async def act(_request: Any, _context: Any) -> AccessToken:
        kept.error = ConnectionError("away")
        return AccessToken()

    async with running(act, audit=trail) as probe:
        await probe.call("Act")
    assert [entry.outcome for entry in kept.all] == [""]
    await trail.flush()
    kept.error = None
    await trail.flush()
    assert [entry.outcome for entry in kept.all] == ["OK"]


async def test_refused_credentials_that_name_a_tenant_are_counted_into_one_entry() -> None:
    """Three calls without the scope make one entry of three; calls of nobody make none."""
    trail, kept = kept_trail()
    issuer = Issuer()
    lacking = issuer.metadata("other.read", tenant_id=TENANT)
    async with running(issuer=issuer, audit=trail) as probe:
        for _ in range(3):
            await probe.refusal("Get", metadata=lacking)
        await probe.refusal("Get", metadata=())
    await trail.flush()
    (entry,) = kept.all
    assert (entry.kind, entry.tenant_id, entry.count) == (Kind.REFUSAL, TENANT, 3)
    assert (entry.outcome, entry.method) == ("SCOPE_MISSING", f"{SERVICE}/Get")


async def test_refusals_are_bounded_between_two_writes_and_survive_a_failed_one() -> None:
    """A thousand kinds of refusals are kept, more are counted as lost; a failed write loses none."""
    kept = KeptEntries()
    trail = AuditTrail(kept.write)
    for number in range(1500):
        trail.refused(UUID(int=number), "key:a", "m", "CREDENTIAL_INVALID")
    kept.error = ConnectionError("away")
    await trail.flush()
    kept.error = None
    await trail.flush()
    assert len(kept.all) == 1000
    await trail.flush()
    assert len(kept.all) == 1000


async def test_one_tenants_refusals_leave_room_for_the_others() -> None:
    """Of one tenant a hundred kinds are told apart, all others are one entry; another tenant's are as they were."""
    trail, kept = kept_trail()
    for number in range(1500):
        trail.refused(TENANT, f"key:{number}", "m", "CREDENTIAL_INVALID")
    trail.refused(OTHER_TENANT, "key:a", "m", "CREDENTIAL_INVALID")
    await trail.flush()
    own = [entry for entry in kept.all if entry.tenant_id == TENANT]
    assert len(own) == 101
    assert sum(entry.count for entry in own) == 1500
    [folded] = [entry for entry in own if entry.method == "*"]
    assert (folded.subject, folded.outcome, folded.count) == ("*", "*", 1400)
    assert [entry.subject for entry in kept.all if entry.tenant_id == OTHER_TENANT] == ["key:a"]


async def test_refusals_never_push_out_the_outcome_of_an_act() -> None:
    """However many refusals cannot be written meanwhile, the act's outcome is written when the log is back."""
    trail, kept = kept_trail()
    act = Entry(uuid7(), TENANT, Kind.ACT, datetime.now(UTC), "operator:admin", "m")
    await trail.begin(act)
    kept.error = ConnectionError("away")
    await trail.finish(act, "OK")
    for turn in range(3):
        for number in range(1000):
            trail.refused(UUID(int=turn * 1000 + number), "key:a", "m", "CREDENTIAL_INVALID")
        await trail.flush()
    kept.error = None
    await trail.flush()
    assert [entry.outcome for entry in kept.all if entry.kind is Kind.ACT] == ["OK"]
    assert len(kept.all) == 1 + 1000


async def test_refusals_of_nobody_are_counted_and_one_each_second_is_in_the_log() -> None:
    """They stand in no audit log: a number tells how many there are, and a sample what they look like."""
    before = REGISTRY.get_sample_value(REFUSED, {"reason": "CREDENTIAL_INVALID"}) or 0
    begun = time.monotonic()
    async with running() as probe:
        with capture_logs() as lines:
            for _ in range(20):
                await probe.refusal("Get", metadata=())
    seconds = time.monotonic() - begun
    assert REGISTRY.get_sample_value(REFUSED, {"reason": "CREDENTIAL_INVALID"}) == before + 20
    samples = [line for line in lines if line["event"] == "credential_refused"]
    assert 1 <= len(samples) <= 1 + seconds
    assert (samples[0]["method"], samples[0]["reason"]) == (f"/{SERVICE}/Get", "CREDENTIAL_INVALID")


async def test_a_server_without_a_trail_does_not_offer_audited_acts() -> None:
    """Forgetting the trail is noticed when the server starts, not when somebody looks for an entry."""
    with pytest.raises(AuditMissingError):
        await start_server([registration(echo)], trust=Issuer().trust)
