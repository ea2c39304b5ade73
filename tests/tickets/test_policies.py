"""Versions of an inbox's policy: what may be edited, what is kept of them, and what they would do."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import policy_pb2, policy_service_pb2, ticket_service_pb2

from servicekit import migrate
from servicekit.cache import Cache
from servicekit.database import Database
from servicekit.doorbell import Doorbell
from servicekit.ids import uuid7
from servicekit.timestamps import timestamp
from services.tickets import handling
from services.tickets.calendars import OFFICE, Calendar
from services.tickets.desk import Caller
from services.tickets.errors import PolicyInvalidError
from services.tickets.inbox import Inbox
from services.tickets.inbox_store import InboxStore
from services.tickets.language import HANDLING_MINUTES
from services.tickets.learning import EVERY, learn
from services.tickets.places import Ranking
from services.tickets.placing import facts_of
from services.tickets.policies import (
    DEFAULT,
    FIXED,
    MAX_WEIGHT,
    PRESETS,
    Edit,
    Learned,
    Weights,
    edited,
    policy_of,
    settings_of,
)
from services.tickets.policy_desk import PolicyDesk
from services.tickets.reranking import Reranking
from services.tickets.scoring import key
from services.tickets.store import Store
from tests.support.servers import DatabaseFor
from tests.tickets.calls import refusal
from tests.tickets.conftest import Agent
from tests.tickets.test_inbox import know
from tests.tickets.test_store import add_old_ticket

BERLIN = Calendar("Europe/Berlin", OFFICE, "DE", "BY", (date(2026, 12, 24),))
weights = st.dictionaries(st.sampled_from(list(Weights().by_name())), st.floats(0, MAX_WEIGHT))


@given(st.sampled_from(list(PRESETS)), weights)
def test_a_version_is_read_as_it_was_written(name: str, given_weights: dict[str, float]) -> None:
    """All that a policy is made of goes into JSON and comes back the same."""
    policy = replace(
        PRESETS[name],
        version=7,
        weights=replace(Weights(), **given_weights),
        calendar=BERLIN,
        handling={"refund": Learned(9.5, 40)},
    )
    assert policy_of(name, 7, orjson.loads(orjson.dumps(settings_of(policy)))) == policy


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (Edit("random"), "name"),
        (Edit(weights={"luck": 1.0}), "weights.luck"),
        (Edit(weights={"priority": -0.1}), "weights.priority"),
        (Edit(weights={"priority": 1.4}), "weights.priority"),
        (Edit(weights={"topics": 2.1}), "weights.topics"),
        (Edit("value-first", weights={"priority": 2.1}), "weights.priority"),
        (Edit(gamma=0.0), "gamma"),
        (Edit(gamma=0.2), "gamma"),
        (Edit(sla_share=0.0), "sla_share"),
        (Edit(gamma=0.05), "sla_share"),
        (Edit(gamma=0.15, sla_share=1.0), "sla_share"),
        (Edit("fifo", weights={"priority": 1.0}), "name"),
        (Edit("predecessor", gamma=0.1), "name"),
    ],
)
def test_nothing_outside_of_the_proven_ranges_is_taken(edit: Edit, field: str) -> None:
    """An edit that leaves the ranges is refused by the name of what is wrong."""
    with pytest.raises(PolicyInvalidError) as refused:
        edited(DEFAULT, edit)
    assert refused.value.metadata["field"] == field


@pytest.mark.parametrize(("gamma", "share"), [(0.05, 1), (0.07, 0.8), (0.1, 0.5), (0.1, 0.75), (0.1, 1), (0.15, 0.5)])
def test_the_pairs_that_passed_in_simulation_may_be_set(gamma: float, share: float) -> None:
    """Ageing and the share of the target may be set to what was shown to beat the predecessor on both costs."""
    policy = edited(DEFAULT, Edit(gamma=gamma, sla_share=share))
    assert (policy.gamma, policy.sla_share) == (gamma, share)


@pytest.mark.parametrize("name", list(PRESETS))
def test_taking_another_policy_keeps_what_is_the_tenants_own(name: str) -> None:
    """The calendar and what was learned stay when the policy changes; its weights are those of the named one."""
    own = replace(DEFAULT, calendar=BERLIN, handling={"refund": Learned(9.5, 40)})
    policy = edited(own, Edit(name))
    assert (policy.calendar, policy.handling) == (own.calendar, own.handling)
    assert policy.weights == PRESETS[name].weights
    assert (name in FIXED) == (name in {"fifo", "predecessor"})


@given(st.lists(st.floats(0, 500), max_size=200))
def test_learned_times_lie_between_the_usual_and_the_seen(minutes: list[float]) -> None:
    """What is learned is drawn towards the usual time, and few tickets say nothing at all."""
    learned = handling.learned(("refund", one) for one in minutes)
    if len(minutes) < handling.FEWEST:
        assert learned == {}
        return
    seen = sum(min(one, handling.LONGEST_MINUTES) for one in minutes) / len(minutes)
    usual = HANDLING_MINUTES["refund"]
    assert min(seen, usual) - 0.01 <= learned["refund"].minutes <= max(seen, usual) + 0.01
    assert learned["refund"].tickets == len(minutes)


def test_what_is_no_intent_and_small_differences_teach_nothing() -> None:
    """Texts that are no intent are left out; a change below a tenth makes no new version, a larger one does."""
    assert handling.learned([("nonsense", 5.0)] * 50) == {}
    usual = HANDLING_MINUTES["refund"]
    assert not handling.different({}, {"refund": Learned(usual * 1.05, 40)})
    assert handling.different({}, {"refund": Learned(usual * 1.2, 40)})
    assert handling.different({"refund": Learned(usual * 1.2, 40)}, {})


class Operator:
    """Somebody who may set a tenant's policy, through the public API."""

    def __init__(self, agent: Agent) -> None:
        self._stub = agent.running.policies
        self._metadata = agent.issuer.metadata("tickets.read", "policies.write", tenant_id=agent.tenant_id)

    async def ask(self, method: str, **fields: Any) -> Any:
        """Call a method."""
        request = getattr(policy_service_pb2, f"{method}Request")(**fields)
        return await getattr(self._stub, method)(request, metadata=self._metadata)

    async def set(self, name: str = "", etag: str = "", reason: str = "", **edit: Any) -> policy_pb2.Policy:
        """Set the policy."""
        made: policy_pb2.Policy = await self.ask("SetPolicy", policy={"name": name, **edit}, etag=etag, reason=reason)
        return made


@pytest.fixture
def operator(agent: Agent) -> Operator:
    """Who sets the policy of the agent's tenant."""
    return Operator(agent)


async def test_a_tenant_begins_with_the_default(operator: Operator) -> None:
    """Without any change version 1 is active, is the only one, and nobody made it."""
    policy = await operator.ask("GetPolicy")
    assert (policy.version, policy.name, policy.principal) == (1, "rapport", "")
    assert policy.state == policy_pb2.Policy.STATE_ACTIVE
    assert policy.bound_hours == pytest.approx(80)
    assert not policy.HasField("create_time")
    assert list((await operator.ask("ListPolicies")).policies) == [policy]


async def test_a_change_is_a_new_version_that_says_who_and_why(operator: Operator) -> None:
    """The new version is built in the background; all versions stay, and an old one can be gone back to."""
    made = await operator.set("value-first", reason="Christmas", weights={"churn_risk": 2.0})
    assert (made.version, made.name, made.reason) == (2, "value-first", "Christmas")
    assert made.principal
    assert made.weights["churn_risk"] == 2.0
    assert made.state in {policy_pb2.Policy.STATE_BUILDING, policy_pb2.Policy.STATE_ACTIVE}
    back = await operator.ask("RollbackPolicy", version=1)
    assert (back.version, back.name, back.reason) == (3, "rapport", "Back to version 1")
    listed = (await operator.ask("ListPolicies")).policies
    assert [policy.version for policy in listed] == [3, 2, 1]
    page = await operator.ask("ListPolicies", page_size=2)
    rest = await operator.ask("ListPolicies", page_size=2, page_token=page.next_page_token)
    assert [policy.version for policy in (*page.policies, *rest.policies)] == [3, 2, 1]
    assert not rest.next_page_token
    assert (await operator.ask("GetPolicy", version=2)).weights["churn_risk"] == 2.0


async def test_two_changes_at_once_do_not_lose_one(operator: Operator) -> None:
    """Who changes a version that is no longer the newest is told so."""
    seen = await operator.ask("GetPolicy")
    await operator.set(etag=seen.etag, weights={"priority": 1.2})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await operator.set(etag=seen.etag, weights={"topics": 0.5})
    assert refused.value.code() is grpc.StatusCode.ABORTED
    kept = await operator.set(weights={"topics": 0.5})
    assert (kept.weights["priority"], kept.weights["topics"]) == (1.2, 0.5)


@pytest.mark.parametrize(
    ("method", "fields", "reason"),
    [
        ("SetPolicy", {"policy": {"name": "random"}}, "POLICY_INVALID"),
        ("SetPolicy", {"policy": {"weights": {"priority": 9.0}}}, "POLICY_INVALID"),
        ("SetPolicy", {"policy": {"weights": {"priority": float("nan")}}}, "REQUEST_INVALID"),
        ("SetPolicy", {"policy": {"gamma": float("inf")}}, "REQUEST_INVALID"),
        ("SetPolicy", {}, "REQUEST_INVALID"),
        ("PreviewPolicy", {"policy": {"gamma": 3.0}}, "POLICY_INVALID"),
        ("GetPolicy", {"version": 99}, "POLICY_NOT_FOUND"),
        ("GetPolicy", {"version": 2**31 - 1}, "POLICY_NOT_FOUND"),
        ("GetPolicy", {"version": -1}, "REQUEST_INVALID"),
        ("RollbackPolicy", {"version": 99}, "POLICY_NOT_FOUND"),
        ("ListPolicies", {"page_token": "made up"}, "PAGE_TOKEN_INVALID"),
        ("ComparePlaces", {"ticket": "T-998", "other": "T-999"}, "TICKET_NOT_FOUND"),
    ],
)
async def test_bad_input_is_refused_precisely(
    operator: Operator, method: str, fields: dict[str, Any], reason: str
) -> None:
    """Whatever is wrong with a request is said, and nothing changes."""
    assert (await refusal(operator.ask(method, **fields)))[1] == reason
    assert (await operator.ask("ListPolicies")).policies[0].version == 1


async def test_an_agents_key_reads_the_policy_and_cannot_set_it(agent: Agent) -> None:
    """Setting the policy needs a scope of its own."""
    request = policy_service_pb2.SetPolicyRequest(policy=policy_service_pb2.PolicyEdit(name="fifo"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await agent.running.policies.SetPolicy(request, metadata=agent.metadata)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await agent.running.policies.GetPolicy(policy_service_pb2.GetPolicyRequest(), metadata=agent.metadata)


async def test_a_preview_shows_the_new_order_and_stores_nothing(agent: Agent, operator: Operator) -> None:
    """First come, first served would turn this inbox round; the inbox itself stays as it is."""
    await know(agent, "rich", 9_000, 0.9)
    await agent.open(customer_id="plain", priority="low")
    await agent.open(customer_id="rich", priority="urgent")
    preview = await operator.ask("PreviewPolicy", policy={"name": "fifo"})
    assert [(one.ticket_number, one.place, one.new_place) for one in preview.places] == [
        ("T-001", 2, 1),
        ("T-002", 1, 2),
    ]
    assert (preview.ranked_count, preview.moved_count) == (2, 2)
    assert len((await operator.ask("PreviewPolicy", policy={"name": "fifo"}, size=1)).places) == 1
    same = await operator.ask("PreviewPolicy", policy={})
    assert same.moved_count == 0
    assert [card["ticket_number"] for card in (await agent.inbox())["tickets"]] == ["T-002", "T-001"]


async def answer(agent: Agent, ticket: str, moment: datetime) -> None:
    """Have Eve answer a ticket at a moment."""
    written = timestamp(moment)
    request = ticket_service_pb2.CreateMessageRequest(
        ticket=ticket, from_agent=True, content="Done.", author_name="Eve", create_time=written
    )
    await agent.running.tickets.CreateMessage(request, metadata=agent.metadata)


async def test_handling_times_are_learned_from_closed_tickets(agent: Agent) -> None:
    """What an agent did between two answers counts as work, and enough of it makes a new version of the policy."""
    store, begin = agent.running.store, datetime(2026, 1, 5, 9, tzinfo=UTC)
    for number in range(handling.FEWEST + 1):
        ticket = (await agent.open(subject="Refund", message="I want a refund"))["id"]
        await answer(agent, ticket, begin + number * timedelta(minutes=24))
        await agent.ask("UpdateTicket", ticket=ticket, status="closed")
    away = (await agent.open(subject="Refund", message="I want a refund"))["id"]
    await answer(agent, away, begin + timedelta(days=1))
    await agent.ask("UpdateTicket", ticket=away, status="closed")
    async with store.shop(agent.tenant_id) as shop:
        efforts = await shop.policies.efforts(handling.TICKETS, handling.LONGEST_GAP)
    # The first answer of all follows none, the last one a night.
    assert efforts == [("refund", 24.0)] * handling.FEWEST
    desk, caller = PolicyDesk(store, Doorbell(agent.running.cache)), Caller(agent.tenant_id, "learning")
    assert await desk.learn(caller)
    assert not await desk.learn(caller)
    newest = (await desk.list(caller, None, 1))[0].version
    usual, share = HANDLING_MINUTES["refund"], handling.FEWEST / (handling.FEWEST + handling.PRIOR_TICKETS)
    learned = newest.policy.handling["refund"]
    assert learned.minutes == pytest.approx(24 * share + usual * (1 - share), abs=0.01)
    assert (learned.tickets, newest.principal) == (handling.FEWEST, "learning")


async def test_each_tenant_is_learned_from_once_a_day(agent: Agent) -> None:
    """A tenant from whom something was learned today is not asked again."""
    await agent.open()
    store = agent.running.store
    desk = PolicyDesk(store, Doorbell(agent.running.cache))
    await desk.learn(Caller(agent.tenant_id, "learning"))
    assert agent.tenant_id not in await store.tenants_to_learn_from(EVERY, 10_000)
    assert agent.tenant_id in await store.tenants_to_learn_from(timedelta(0), 10_000)


async def test_a_round_of_learning_leaves_refused_tenants_alone(agent: Agent) -> None:
    """A tenant that is suspended or being erased gets nothing written."""
    await agent.open()
    store = agent.running.store
    due = await store.tenants_to_learn_from(EVERY, 10_000)
    assert agent.tenant_id in due
    desk = PolicyDesk(store, Doorbell(agent.running.cache))
    assert await learn(store, desk, due) == 0
    assert set(due) <= set(await store.tenants_to_learn_from(EVERY, 10_000))


async def test_a_tenant_that_nothing_can_be_learned_from_goes_to_the_back(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails for one tenant ends no round of learning, and its next turn is tomorrow."""
    await agent.open()
    store = agent.running.store
    others = [one for one in await store.tenants_to_learn_from(EVERY, 10_000) if one != agent.tenant_id]

    def failing(_efforts: object) -> None:
        raise ValueError("nothing can be learned from these")

    monkeypatch.setattr(handling, "learned", failing)
    assert await learn(store, PolicyDesk(store, Doorbell(agent.running.cache)), others) == 0
    assert agent.tenant_id not in await store.tenants_to_learn_from(EVERY, 10_000)


async def test_inboxes_from_before_there_were_policies_are_ordered_anew(fresh_database_for: DatabaseFor) -> None:
    """The keys of an earlier release were made by another formula: an order by this one is what is built first."""
    made, tenant = fresh_database_for("tickets"), uuid7()
    await migrate.downgrade(made.owner_url, "services.tickets", "0004")
    connection = await asyncpg.connect(made.superuser_url)
    for number, status in enumerate(("open", "closed"), 1):
        await add_old_ticket(connection, tenant, number, status)
    await connection.close()
    await migrate.upgrade(made.owner_url, "services.tickets")
    database = await Database.connect(made.app_url, schema="tickets", pool_size=4)
    cache = await Cache.connect(None, service="tickets")
    store, doorbell = Store(database), Doorbell(cache)
    assert await store.tenants_with_rankings_to_do(datetime.now(UTC)) == [tenant]
    assert await Reranking(store, Inbox(InboxStore(database), cache, doorbell), doorbell).build(tenant)
    async with store.shop(tenant) as shop:
        assert (await shop.places.rankings()).active == Ranking(2, 1)
        opened, closed = [await shop.find(number) for number in (1, 2)]
        assert opened is not None
        assert closed is not None
        customer = await shop.places.customer(opened.ticket.customer_id)
        assert opened.rank.key == key(DEFAULT, await facts_of(shop, opened.ticket, opened.signals, customer))
        assert closed.rank.key == -2.0
    await database.close()
