"""Who is who: what evidence joins and what never, that its order does not matter, and that merges can be undone."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapport.recommendations.v1 import (
    change_service_pb2,
    customer_service_pb2,
    identity_pb2,
    identity_service_pb2,
    order_service_pb2,
)

from servicekit.ids import uuid7
from services.recommendations import advice_store
from services.recommendations.identities import MOST_HOLDERS, Identity, Stated, matches, normalise, resolve
from tests.recommendations.conftest import NOW, Caller, line, reason
from tests.support.waiting import eventually

ANNA = Identity("email", "anna@example.com")
PHONE = Identity("phone", "+4930123456")


def stated(merged: dict[str, str] | None = None, apart: Sequence[str] = (), **held: Sequence[Identity]) -> Stated:
    """Return what is stated of some customers."""
    return Stated(
        {customer: frozenset(identities) for customer, identities in held.items()}, merged or {}, frozenset(apart)
    )


def together(found: Stated) -> set[frozenset[str]]:
    """Return who is one with whom."""
    survivors = resolve(found).survivors
    return {frozenset(one for one in survivors if survivors[one] == survivor) for survivor in set(survivors.values())}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email", " Anna@Example.COM ", "anna@example.com"),
        ("email", "anna@münchen.de", "anna@xn--mnchen-3ya.de"),
        ("email", "Maße@FAẞ.de", "maße@faß.de"),
        ("email", "masse@fass.de", "masse@fass.de"),
        ("email", "ﬁ@example.com", "ﬁ@example.com"),
        ("email", "a@βόλος.com", "a@βόλος.com"),
        ("email", "a@x\u200dy.de", "a@x\u200dy.de"),
        ("email", "a@-x.de", None),
        ("email", "a@x-.de", None),
        ("email", "a@ß-.de", None),
        ("email", "a@x..de", None),
        ("email", "anna", None),
        ("email", "a@b", None),
        ("email", "two@at@example.com", None),
        ("phone", "+49 (30) 1234-5678", "+493012345678"),
        ("phone", "030 12345678", None),
        ("phone", "+49 1", None),
        ("phone", "nobody", None),
        ("provider:shopify", "77", "77"),
        ("name", "Anna Berg", None),
    ],
)
def test_a_stable_id_has_one_form(kind: str, text: str, value: str | None) -> None:
    """What is no such id is told from one, and a name is never an id."""
    assert normalise(kind, text) == value


def test_those_who_share_an_id_are_one_and_the_evidence_says_why() -> None:
    """An address or a number joins; the shortest id survives, and everything that is shared is told."""
    found = resolve(stated(c10=[ANNA, PHONE], c7=[ANNA], other=[Identity("email", "ben@example.com")]))
    assert found.survivors == {"c10": "c7", "c7": "c7", "other": "other"}
    (joined,) = found.joined
    assert (joined.customer_id, joined.survivor_id) == ("c10", "c7")
    assert [(one.kind, one.value, one.shared_with) for one in joined.evidence] == [("email", ANNA.value, ("c7",))]


@pytest.mark.parametrize(
    ("one", "other", "against"),
    [
        pytest.param(
            [ANNA, Identity("provider:shopify", "1")],
            [ANNA, Identity("provider:shopify", "2")],
            "provider:shopify",
            id="two-at-one-provider",
        ),
        pytest.param([ANNA, PHONE], [Identity("email", "b@example.com"), PHONE], "email", id="one-phone-two-addresses"),
    ],
)
def test_conflicting_evidence_joins_nobody(one: list[Identity], other: list[Identity], against: str) -> None:
    """A stronger id that differs outweighs a weaker one that is shared; it is told what speaks against it."""
    case = stated(a=one, b=other)
    assert together(case) == {frozenset("a"), frozenset("b")}
    (match,) = matches("a", case, resolve(case).survivors)
    assert (match.customer_id, match.against) == ("b", against)


def test_a_contradiction_among_several_joins_none_of_them() -> None:
    """A middleman who shares an id with two different people does not make one of them."""
    one, two = Identity("provider:shopify", "1"), Identity("provider:shopify", "2")
    other = Identity("email", "other@example.com")
    assert len(together(stated(a=[ANNA, one], b=[ANNA, other], c=[other, two]))) == 3


def test_an_id_of_many_joins_nobody() -> None:
    """An address that more customers have than a household is no evidence."""
    for count, customers in ((MOST_HOLDERS, 1), (MOST_HOLDERS + 1, MOST_HOLDERS + 1)):
        held = {f"c{number}": frozenset([ANNA]) for number in range(count)}
        assert len(together(Stated(held, {}))) == customers


def test_whom_people_keep_apart_evidence_leaves_alone() -> None:
    """The others who share the id stay one."""
    assert together(stated(apart=["b"], a=[ANNA], b=[ANNA], c=[ANNA])) == {frozenset("ac"), frozenset("b")}


identities_of = st.frozensets(
    st.one_of(
        st.builds(Identity, st.just("email"), st.sampled_from(["a@x.de", "b@x.de", "c@x.de"])),
        st.builds(Identity, st.just("phone"), st.sampled_from(["+1", "+2"])),
        st.builds(Identity, st.sampled_from(["provider:s", "provider:z"]), st.sampled_from("12")),
    ),
    max_size=4,
)


@given(st.dictionaries(st.sampled_from("abcdefgh"), identities_of, max_size=8), st.randoms())
def test_the_order_of_what_is_stated_does_not_matter(
    held: dict[str, frozenset[Identity]], chance: random.Random
) -> None:
    """The same statements in another order give the same customers, joined by the same evidence."""
    shuffled = list(held.items())
    chance.shuffle(shuffled)
    assert resolve(Stated(held, {})) == resolve(Stated(dict(shuffled), {}))


@given(st.dictionaries(st.sampled_from("abcdefgh"), identities_of, max_size=8))
def test_nobody_is_joined_without_a_shared_id_or_against_a_providers(held: dict[str, frozenset[Identity]]) -> None:
    """Whoever was joined shares an id with another of the group, and no group holds two ids of one provider apart."""
    found = resolve(Stated(held, {}))
    for joined in found.joined:
        assert joined.evidence
        for evidence in joined.evidence:
            for other in joined.evidence[0].shared_with:
                assert found.survivors[other] == joined.survivor_id
            assert Identity(evidence.kind, evidence.value) in held[joined.customer_id]
    for group in together(Stated(held, {})):
        for kind in ("provider:s", "provider:z"):
            sets = [{one.value for one in held[member] if one.kind == kind} for member in group]
            known = [one for one in sets if one]
            if len(known) == 2 and len(group) == 2:
                assert known[0] & known[1]


async def contact(shop: Caller, customer_id: str, **fields: Any) -> Any:
    """Set a customer's contact."""
    request = customer_service_pb2.SetCustomerContactRequest(customer_id=customer_id, **fields)
    return await shop.running.customer.SetCustomerContact(request, metadata=shop.metadata)


async def who(shop: Caller, customer_id: str) -> identity_pb2.CustomerIdentities:
    """Return who a customer is."""
    request = identity_service_pb2.GetCustomerIdentitiesRequest(customer_id=customer_id)
    found: identity_pb2.CustomerIdentities = await shop.running.identities.GetCustomerIdentities(
        request, metadata=shop.metadata
    )
    return found


async def record(shop: Caller, customer_id: str, *ids: tuple[str, str]) -> Any:
    """State stable ids of a customer in a helpdesk's name."""
    request = identity_service_pb2.RecordIdentitiesRequest(
        customer_id=customer_id,
        identities=[identity_pb2.Identity(kind=kind, value=value) for kind, value in ids],
        source="zendesk",
    )
    return await shop.running.identities.RecordIdentities(request, metadata=shop.metadata)


async def merge(shop: Caller, survivor_id: str, customer_id: str) -> identity_pb2.CustomerMerge:
    """Make two customers one."""
    request = identity_service_pb2.MergeCustomersRequest(survivor_id=survivor_id, customer_id=customer_id)
    done: identity_pb2.CustomerMerge = await shop.running.identities.MergeCustomers(request, metadata=shop.metadata)
    return done


async def undo(shop: Caller, merge_id: str) -> Any:
    """Take a merge back."""
    request = identity_service_pb2.UndoMergeRequest(merge_id=merge_id)
    return await shop.running.identities.UndoMerge(request, metadata=shop.metadata)


async def profile(shop: Caller, customer_id: str) -> Any:
    """Return a customer's profile."""
    return await shop.ask("GetCustomerProfile", customer_id=customer_id)


async def history(shop: Caller, customer_id: str) -> Any:
    """Return what a customer did, without how many others are alike: that is as of when the profile was judged."""
    found = await profile(shop, customer_id)
    return {name: found[name] for name in ("customer_id", "business_metrics", "last_purchase", "dominant_segments")}


async def refused(work: Any) -> str:
    """Return why a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as found:
        await work
    return reason(found.value)


async def test_a_helpdesks_requester_is_the_shops_customer_by_the_address(shop: Caller) -> None:
    """The id of the helpdesk answers with the shop's customer, whichever of the two became known first."""
    await record(shop, "zd-5", ("email", "ANNA@example.com"))
    await shop.buy(line("o-1", "77", NOW))
    await contact(shop, "77", email="anna@example.com", display_name="Anna", provider_ids={"shopify": "77"})
    assert await profile(shop, "zd-5") == await profile(shop, "77")
    assert (await profile(shop, "zd-5"))["customer_id"] == "77"
    found = await who(shop, "zd-5")
    assert list(found.customer_ids) == ["77", "zd-5"]
    (joined,) = found.merges
    assert (joined.customer_id, joined.survivor_id, joined.origin) == ("zd-5", "77", joined.ORIGIN_EVIDENCE)
    assert [(one.kind, one.value, list(one.shared_with)) for one in joined.evidence] == [
        ("email", "anna@example.com", ["77"])
    ]
    cards = await shop.running.changes.BatchGetCustomerCards(
        change_service_pb2.BatchGetCustomerCardsRequest(customer_ids=["zd-5", "77"]), metadata=shop.metadata
    )
    assert {card.customer_id: card.profile_json for card in cards.cards}.keys() == {"zd-5", "77"}
    assert len({card.profile_json for card in cards.cards}) == 1


async def test_ids_that_are_stated_once_more_leave_kept_profiles(shop: Caller) -> None:
    """A helpdesk states them with every ticket; only what comes, goes or joins somebody outdates what is kept."""
    await shop.buy(line("o-1", "77", NOW))
    await record(shop, "77", ("email", "anna@example.com"))
    customers = shop.running.customers
    kept = await customers.profile_json(shop.tenant_id, "77")
    await record(shop, "77", ("email", "anna@example.com"))
    assert await customers.profile_json(shop.tenant_id, "77") is kept
    await record(shop, "77", ("phone", "+493012345678"))
    assert await customers.profile_json(shop.tenant_id, "77") is not kept


async def test_those_who_keep_copies_hear_of_a_merge_and_of_every_change_after_it(shop: Caller) -> None:
    """The log names the merged id as well, so that tickets under it show the survivor's news."""
    await shop.buy(line("o-1", "a-1", NOW), line("o-2", "b-22", NOW))
    await merge(shop, "a-1", "b-22")

    async def told(cursor: str) -> str | None:
        request = change_service_pb2.ListChangesRequest(cursor=cursor, limit=5000)
        answer = await shop.running.changes.ListChanges(request, metadata=shop.issuer.metadata("log.read"))
        found = {change.subject for change in answer.changes if change.tenant_id == str(shop.tenant_id)}
        return answer.cursor if found == {"a-1", "b-22"} else None

    cursor = await eventually(lambda: told(""))
    await shop.buy(line("o-3", "a-1", NOW))
    await eventually(lambda: told(cursor))


async def test_histories_add_up_and_an_undone_merge_leaves_everything_as_it_was(shop: Caller) -> None:
    """What each id bought meanwhile is its own again; evidence does not join the two once more."""
    await shop.buy(
        line("o-1", "a-1", NOW - timedelta(days=20)),
        line("o-2", "b-22", NOW - timedelta(days=10), quantity=2),
        line("o-3", "b-22", NOW - timedelta(days=5), quantity=-1),
    )
    before = [await profile(shop, one) for one in ("a-1", "b-22")]
    done = await merge(shop, "a-1", "b-22")
    assert done.origin == done.ORIGIN_PERSON
    assert (await merge(shop, "a-1", "b-22")).merge_id == done.merge_id
    both = await profile(shop, "b-22")
    assert both["customer_id"] == "a-1"
    assert both["business_metrics"]["total_orders"] == 2
    assert both["business_metrics"]["lifetime_value"] == 60.0
    listed = await shop.ask("ListCustomerOrders", customer_id="b-22")
    assert [order["order_id"] for order in listed["orders"]] == ["o-3", "o-2", "o-1"]
    await undo(shop, done.merge_id)
    assert [await profile(shop, one) for one in ("a-1", "b-22")] == before
    await merge(shop, "a-1", "b-22")
    await shop.buy(line("o-4", "b-22", NOW, quantity=3))
    assert (await profile(shop, "a-1"))["business_metrics"]["total_orders"] == 3
    (standing,) = [one for one in (await who(shop, "a-1")).merges if not one.HasField("undo_time")]
    await undo(shop, standing.merge_id)
    assert (await profile(shop, "a-1"))["business_metrics"]["total_orders"] == 1
    assert (await profile(shop, "b-22"))["business_metrics"]["total_orders"] == 2
    assert (await undo(shop, standing.merge_id)).undo_reason == "a person undid it"


async def test_an_undone_merge_by_evidence_is_not_made_again(shop: Caller) -> None:
    """The match is told of with what speaks against it, and a person may join the two after all."""
    await contact(shop, "a-1", email="anna@example.com")
    await contact(shop, "b-22", email="anna@example.com")
    (joined,) = (await who(shop, "a-1")).merges
    await undo(shop, joined.merge_id)
    await contact(shop, "b-22", email="anna@example.com", display_name="Anna")
    found = await who(shop, "b-22")
    assert list(found.customer_ids) == ["b-22"]
    assert [(one.customer_id, one.against) for one in found.possible_matches] == [("a-1", "kept apart")]
    await merge(shop, "a-1", "b-22")
    assert (await profile(shop, "b-22"))["customer_id"] == "a-1"


async def test_evidence_that_goes_takes_its_merge_along(shop: Caller) -> None:
    """When an address turns out to be another's, the two are what they were, and it is told why."""
    await shop.buy(line("o-1", "a-1", NOW), line("o-2", "b-22", NOW))
    await contact(shop, "a-1", email="anna@example.com")
    await contact(shop, "b-22", email="anna@example.com")
    assert (await profile(shop, "b-22"))["business_metrics"]["total_orders"] == 2
    await contact(shop, "b-22", email="ben@example.com")
    assert (await profile(shop, "b-22"))["business_metrics"]["total_orders"] == 1
    (ended,) = (await who(shop, "b-22")).merges
    assert ended.undo_reason == "the evidence no longer holds"


async def test_what_arrives_in_another_order_comes_to_the_same(shop: Caller, other_shop: Caller) -> None:
    """Orders, contacts and ids in any order: the same customers with the same histories."""
    steps: list[tuple[str, Any]] = [
        ("buy", line("o-1", "10", NOW - timedelta(days=3))),
        ("buy", line("o-2", "zd-5", NOW - timedelta(days=2))),
        ("buy", line("o-3", "20", NOW - timedelta(days=1))),
        ("contact", ("10", {"email": "anna@example.com", "phone": "+493012345678"})),
        ("contact", ("20", {"email": "ben@example.com", "phone": "+493012345678"})),
        ("record", ("zd-5", ("email", "anna@example.com"))),
        ("record", ("zd-6", ("email", "ben@example.com"))),
        ("record", ("zd-7", ("phone", "+493012345678"))),
    ]
    chance = random.Random(6)
    seen = []
    for caller in (shop, other_shop):
        chance.shuffle(steps)
        for kind, what in steps:
            if kind == "buy":
                await caller.buy(what)
            elif kind == "contact":
                await contact(caller, what[0], **what[1])
            else:
                await record(caller, what[0], what[1])
        found = {name: list((await who(caller, name)).customer_ids) for name in ("10", "20", "zd-5", "zd-6", "zd-7")}
        seen.append((found, {name: await history(caller, name) for name in ("10", "20", "zd-5", "zd-6")}))
    assert seen[0] == seen[1]
    assert seen[0][0]["zd-5"] == ["10", "zd-5"]
    assert seen[0][0]["zd-7"] == ["zd-7"]


async def test_merges_that_make_no_sense_are_refused(shop: Caller, other_shop: Caller) -> None:
    """Unknown ids, foreign ones, a customer with itself, and one who is merged already."""
    await shop.buy(*(line(f"o-{one}", one, NOW) for one in ("a", "b", "c")))
    await other_shop.buy(line("o-x", "x", NOW))
    assert await refused(merge(shop, "a", "x")) == "CUSTOMER_NOT_FOUND"
    assert await refused(merge(shop, "nobody", "a")) == "CUSTOMER_NOT_FOUND"
    assert await refused(merge(shop, "a", "a")) == "REQUEST_INVALID"
    assert await refused(undo(shop, str(uuid7()))) == "MERGE_NOT_FOUND"
    done = await merge(shop, "a", "b")
    assert await refused(merge(shop, "b", "c")) == "CUSTOMER_MERGED"
    assert await refused(merge(shop, "c", "b")) == "CUSTOMER_MERGED"
    assert await refused(undo(other_shop, done.merge_id)) == "MERGE_NOT_FOUND"
    assert await refused(who(shop, "nobody")) == "CUSTOMER_NOT_FOUND"
    assert await refused(record(shop, "a", ("phone", "030 1234"))) == "IDENTITY_INVALID"


async def test_a_chain_of_merges_can_be_undone_in_any_order(shop: Caller) -> None:
    """Whoever was merged into somebody who was merged comes along, and back with him."""
    await shop.buy(*(line(f"o-{one}", one, NOW) for one in ("a", "b", "c")))
    before = {one: await history(shop, one) for one in ("a", "b", "c")}
    first = await merge(shop, "b", "c")
    second = await merge(shop, "a", "b")
    assert (await profile(shop, "c"))["business_metrics"]["total_orders"] == 3
    await undo(shop, first.merge_id)
    assert await history(shop, "c") == before["c"]
    assert (await profile(shop, "b"))["business_metrics"]["total_orders"] == 2
    await undo(shop, second.merge_id)
    assert {one: await history(shop, one) for one in ("a", "b", "c")} == before


async def test_an_id_without_a_history_takes_one_over_and_gives_it_back(shop: Caller) -> None:
    """A helpdesk's id that survives answers for the shop's customer; afterwards it is as unknown as before."""
    await record(shop, "zd-1", ("provider:zendesk", "1"))
    await shop.buy(line("o-1", "a-1", NOW))
    before = await profile(shop, "a-1")
    done = await merge(shop, "zd-1", "a-1")
    both = [await profile(shop, one) for one in ("zd-1", "a-1")]
    assert both[0] == both[1]
    assert (both[0]["customer_id"], both[0]["business_metrics"]["total_orders"]) == ("zd-1", 1)
    await undo(shop, done.merge_id)
    assert await profile(shop, "a-1") == before
    assert await refused(profile(shop, "zd-1")) == "CUSTOMER_NOT_FOUND"


async def test_forgetting_a_merged_customer_forgets_all_of_them(shop: Caller) -> None:
    """The person behind the ids is forgotten, with what was stated about them and every merge."""
    await shop.buy(line("o-1", "a", NOW), line("o-2", "b", NOW), line("o-3", "c", NOW))
    await contact(shop, "b", email="marker@example.com", phone="+493012345678")
    await record(shop, "zd-1", ("email", "marker@example.com"))
    await merge(shop, "a", "b")
    request = customer_service_pb2.EraseCustomerRequest(customer_id="b")
    done = await shop.running.customer.EraseCustomer(request, metadata=shop.metadata)
    assert (done.known, done.order_count, sorted(done.customer_ids)) == (True, 2, ["a", "b", "zd-1"])
    for one in ("a", "b", "zd-1"):
        assert await refused(profile(shop, one)) == "CUSTOMER_NOT_FOUND"
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        for table in ("customer_identities", "customer_merges", "customer_links", "customers_apart"):
            found = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
            assert found.scalar_one() == 0, table
    listed = await shop.orders("ListOrders", order_service_pb2.ListOrdersRequest(customer_id="c"))
    assert [order.order_id for order in listed.orders] == ["o-3"]


def test_merges_in_a_circle_end() -> None:
    """Nothing brings a circle about; if there were one, everybody in it would be the same customer."""
    found = together(stated(merged={"a": "b", "b": "c", "c": "a", "d": "a"}))
    assert found == {frozenset("abcd")}


async def crowd(shop: Caller, count: int) -> None:
    """Merge customers into "c" by hand, as if their number had grown."""
    async with shop.running.database.tenant(shop.tenant_id) as connection:
        for table, values in (
            ("customer_merges", "uuidv7(), 'm-' || n, 'c', 'person', '[]', 'somebody', now()"),
            ("customer_links", "'m-' || n, 'c'"),
        ):
            columns = (
                "merge_id, customer_id, survivor_id, origin, evidence, principal, create_time"
                if table == "customer_merges"
                else "customer_id, survivor_id"
            )
            await connection.exec_driver_sql(
                f"INSERT INTO {table} (tenant_id, {columns})"  # noqa: S608 - our own names
                f" SELECT $1, {values} FROM generate_series(1, $2::integer) AS n",
                (shop.tenant_id, count),
            )


async def test_merges_among_too_many_are_refused_and_contacts_are_kept_all_the_same(shop: Caller) -> None:
    """Nobody is told that a merge is done which is not; what is stated by the way stays without joining anybody."""
    await shop.buy(line("o-1", "c", NOW), line("o-2", "x", NOW))
    await crowd(shop, 501)
    assert await refused(merge(shop, "c", "x")) == "TOO_MANY_CONNECTED"
    assert await refused(merge(shop, "x", "c")) == "TOO_MANY_CONNECTED"
    merges = (await who(shop, "m-1")).merges
    assert await refused(undo(shop, merges[0].merge_id)) == "TOO_MANY_CONNECTED"
    assert not (await who(shop, "x")).merges
    await contact(shop, "c", email="anna@example.com")
    await contact(shop, "x", email="anna@example.com")
    assert {(await profile(shop, one))["customer_id"] for one in ("c", "x")} == {"c", "x"}
    await record(shop, "m-2", ("email", "anna@example.com"))
    request = customer_service_pb2.EraseCustomerRequest(customer_id="x")
    assert (await shop.running.customer.EraseCustomer(request, metadata=shop.metadata)).order_count == 1


async def test_what_a_person_says_outlives_the_evidence_for_it(shop: Caller) -> None:
    """A merge by hand of two whom evidence joined replaces the evidence's, and stays when the evidence goes."""
    await shop.buy(line("o-1", "a-1", NOW), line("o-2", "b-22", NOW), line("o-3", "c-22", NOW))
    await merge(shop, "b-22", "c-22")
    await contact(shop, "a-1", email="anna@example.com")
    await contact(shop, "b-22", email="anna@example.com")
    survivor = (await profile(shop, "b-22"))["customer_id"]
    other = {"a-1": "b-22", "b-22": "a-1"}[survivor]
    done = await merge(shop, survivor, "c-22" if other == "b-22" else other)
    assert (done.customer_id, done.survivor_id, done.origin) == (other, survivor, done.ORIGIN_PERSON)
    assert (await merge(shop, survivor, other)).merge_id == done.merge_id
    await contact(shop, "b-22", email="ben@example.com")
    assert {(await profile(shop, one))["customer_id"] for one in ("a-1", "b-22", "c-22")} == {survivor}
    await undo(shop, done.merge_id)
    assert (await profile(shop, "a-1"))["customer_id"] == "a-1"


async def test_advice_from_before_an_id_was_gone_is_not_taken_for_current(shop: Caller) -> None:
    """An id that is dropped and comes back counts its facts anew; what was advised before rests on others."""

    async def rests_on() -> tuple[str, int, int]:
        standing = await advice_store.standing(shop.running.database, shop.tenant_id, uuid7(), "zd-1")
        return standing.customer_id, standing.facts_version, standing.epoch

    await record(shop, "zd-1", ("provider:zendesk", "1"))
    await shop.buy(line("o-1", "a-1", NOW))
    seen = set()
    for again in range(3):
        done = await merge(shop, "zd-1", "a-1")
        seen.add(await rests_on())
        await undo(shop, done.merge_id)
        assert len(seen) == again + 1


async def test_an_id_can_be_taken_back_and_a_provider_has_one_id_of_a_contact(shop: Caller) -> None:
    """What a source states with `replace` is all it states; a contact's new id at a provider replaces the old one."""
    await shop.buy(line("o-1", "a-1", NOW))
    await contact(shop, "a-1", email="anna@example.com", provider_ids={"shopify": "1", "other": "9"})
    await record(shop, "zd-5", ("email", "anna@example.com"), ("provider:zendesk", "5"))
    assert (await profile(shop, "zd-5"))["customer_id"] == "a-1"
    request = identity_service_pb2.RecordIdentitiesRequest(
        customer_id="zd-5",
        identities=[identity_pb2.Identity(kind="provider:zendesk", value="5")],
        source="zendesk",
        replace=True,
    )
    await shop.running.identities.RecordIdentities(request, metadata=shop.metadata)
    assert await refused(profile(shop, "zd-5")) == "CUSTOMER_NOT_FOUND"
    request.ClearField("identities")
    found = await shop.running.identities.RecordIdentities(request, metadata=shop.metadata)
    assert not found.identities
    assert await refused(record(shop, "zd-5")) == "REQUEST_INVALID"
    await contact(shop, "a-1", email="anna@example.com", provider_ids={"shopify": "2"})
    stated_now = {(one.kind, one.value) for one in (await who(shop, "a-1")).identities}
    assert stated_now == {("email", "anna@example.com"), ("provider:shopify", "2"), ("provider:other", "9")}


async def test_an_export_leaves_nothing_out_however_much_it_is(shop: Caller) -> None:
    """More ids and merges than a page holds, whom evidence does not join, and lines that are only staged."""
    await shop.buy(line("o-1", "c", NOW))
    await contact(shop, "c", email="anna@example.com")
    for start in range(0, 550, 50):
        await record(shop, "c", *((f"provider:p{number}", "1") for number in range(start, start + 50)))
    for _ in range(2):
        await crowd(shop, 300)
        async with shop.running.database.tenant(shop.tenant_id) as connection:
            await connection.exec_driver_sql("DELETE FROM customer_links")
            await connection.exec_driver_sql("UPDATE customer_merges SET undo_time = now()")
            await connection.exec_driver_sql(
                "INSERT INTO customers_apart (tenant_id, customer_id) VALUES ($1, 'c') ON CONFLICT DO NOTHING",
                (shop.tenant_id,),
            )
    opened = await shop.orders("CreateOrderImport", order_service_pb2.CreateOrderImportRequest())
    lines = [line(f"s-{number}", "c", NOW) for number in range(600)]
    append = order_service_pb2.AppendOrderLinesRequest(import_id=opened.import_id, batch_number=1, lines=lines)
    await shop.orders("AppendOrderLines", append)
    request = customer_service_pb2.ExportCustomerRequest(customer_id="c")
    pieces = [body.data async for body in shop.running.customer.ExportCustomer(request, metadata=shop.metadata)]
    records = [orjson.loads(one) for one in b"".join(pieces).splitlines()]
    counts = Counter(one["kind"] for one in records)
    assert (counts["identity"], counts["merge"], counts["kept_apart"], counts["staged_order_line"]) == (
        551,
        600,
        1,
        600,
    )
    assert len({orjson.dumps(one) for one in records}) == len(records)
