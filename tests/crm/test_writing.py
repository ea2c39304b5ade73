"""Changes at helpdesks, by themselves: what is asked for, how it is recognised, what stands in a note."""

import random
from datetime import timedelta
from uuid import UUID

import pytest

from servicekit.envelope import SealBrokenError, Sealer, new_data_key
from servicekit.ids import uuid7
from services.crm.errors import CredentialsMissingError, OperationUnsupportedError, WriteStateError
from services.crm.providers import PROVIDERS
from services.crm.providers.api import AddNote, AddTags, SendReply, SetPriority
from services.crm.writing import (
    Kind,
    State,
    change_of,
    digest_of,
    lane_of,
    marker_of,
    next_try,
    open_content,
    recommendation_text,
    require_able,
    require_credentials,
    require_dead,
    seal_content,
)

WRITE = UUID("01890000-0000-7000-8000-000000000001")
RECOMMENDATION = {
    "priority": "high",
    "actions": [
        {"action": "Offer a refund", "priority": 1, "reasoning": "The parcel is nine days late."},
        {"action": "Call back", "priority": 2, "reasoning": "The customer is lost with a probability of 61 %."},
    ],
    "talking_points": ["Thank them for six years."],
    "warnings": ["A third complaint this month."],
}


def test_marker_is_short_and_the_same_whenever_it_is_asked_for() -> None:
    """Two changes never share a marker, and one change always has the same one."""
    assert marker_of(WRITE) == marker_of(WRITE)
    assert len({marker_of(uuid7()) for _ in range(1000)}) == 1000
    assert marker_of(WRITE).startswith("rapport-")
    assert len(marker_of(WRITE)) == 24


@pytest.mark.parametrize(
    ("kind", "content", "change"),
    [
        (Kind.PRIORITY, {"priority": "high"}, SetPriority("high")),
        (Kind.TAGS, {"tags": ["vip"]}, AddTags(("vip",))),
        (Kind.NOTE, {"text": "Be quick"}, AddNote("Be quick", marker_of(WRITE))),
        (Kind.REPLY, {"text": "Sorry"}, SendReply("Sorry", marker_of(WRITE))),
    ],
)
def test_change_says_what_was_asked_for(kind: Kind, content: dict[str, object], change: object) -> None:
    """Notes and replies carry the marker of their change; the others need none."""
    assert change_of(WRITE, kind, content) == change


def test_digest_tells_requests_apart() -> None:
    """Another ticket, another kind or another text is another request; the same again is the same."""
    one, other = uuid7(), uuid7()
    digests = {
        digest_of(one, Kind.NOTE, {"text": "a"}),
        digest_of(other, Kind.NOTE, {"text": "a"}),
        digest_of(one, Kind.REPLY, {"text": "a"}),
        digest_of(one, Kind.NOTE, {"text": "b"}),
        digest_of(one, Kind.NOTE, {"recommendation": True}),
    }
    assert len(digests) == 5
    assert digest_of(one, Kind.NOTE, {"text": "a"}) in digests


def test_lane_is_that_of_the_ticket_at_its_connection() -> None:
    """Changes of one ticket share a lane, which fits into the database's number."""
    one, other = uuid7(), uuid7()
    assert lane_of(one, "42") == lane_of(one, "42")
    assert len({lane_of(one, "42"), lane_of(one, "43"), lane_of(other, "42")}) == 3
    assert 0 <= lane_of(one, "42") < 2**63


def test_content_opens_only_where_it_was_sealed() -> None:
    """What is to be written does not open for another change or another tenant."""
    sealer, tenant = Sealer(new_data_key()), uuid7()
    sealed = seal_content(sealer, {"text": "Grüße"}, tenant_id=tenant, write=WRITE)
    assert open_content(sealer, sealed, tenant_id=tenant, write=WRITE) == {"text": "Grüße"}
    for tenant_id, write in ((uuid7(), WRITE), (tenant, uuid7())):
        with pytest.raises(SealBrokenError):
            open_content(sealer, sealed, tenant_id=tenant_id, write=write)


def test_what_a_provider_cannot_do_is_refused_by_its_name() -> None:
    """A provider without an API can do nothing, one without tags cannot add any; the refusal says what is missing."""
    with pytest.raises(OperationUnsupportedError, match="standard has no replies"):
        require_able("standard", None, Kind.REPLY)
    salesforce = PROVIDERS["salesforce"].api
    with pytest.raises(OperationUnsupportedError, match="salesforce has no tags"):
        require_able("salesforce", salesforce, Kind.TAGS)
    assert require_able("salesforce", salesforce, Kind.PRIORITY) is salesforce


def test_missing_credentials_are_named() -> None:
    """One complete way to log in is enough; without any the refusal names the fields."""
    api = PROVIDERS["intercom"].api
    assert api is not None
    require_credentials(api, {"region": "eu"}, ["webhook_secret", "access_token"])
    with pytest.raises(CredentialsMissingError, match="access_token"):
        require_credentials(api, {"region": "eu"}, ["webhook_secret"])


@pytest.mark.parametrize("state", [State.PENDING, State.DONE])
def test_only_dead_changes_are_brought_back(state: State) -> None:
    """A person decides only about what waits for a person."""
    require_dead(State.DEAD)
    with pytest.raises(WriteStateError, match=state.value):
        require_dead(state)


def test_waits_grow_and_have_an_end() -> None:
    """The first wait is a second at least, the last a few minutes at most."""
    chance = random.Random(7)
    waits = [next_try(attempt, chance=chance) for attempt in range(1, 13)]
    assert waits[0] >= timedelta(seconds=1)
    assert waits[-1] <= timedelta(minutes=5)
    assert waits[-1] > waits[0]


def test_note_of_a_recommendation_gives_each_action_with_its_reason() -> None:
    """An agent at the helpdesk reads what to do and why, without having to look elsewhere."""
    text = recommendation_text(RECOMMENDATION)
    assert text.splitlines()[0] == "Recommended next steps (high priority)"
    assert "1. Offer a refund\n   Why: The parcel is nine days late." in text
    assert "2. Call back\n   Why: The customer is lost with a probability of 61 %." in text
    assert "- Thank them for six years." in text
    assert "- A third complaint this month." in text
