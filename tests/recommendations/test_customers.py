"""Customers through a real server: the same profile everywhere, right as days pass, and told to other services."""

from datetime import timedelta
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from rapport.recommendations.v1 import (
    change_service_pb2,
    customer_service_pb2,
    error_reason_pb2,
    order_pb2,
    order_service_pb2,
)

from servicekit.errors import DomainError
from servicekit.ids import uuid7
from servicekit.outbox import CursorInvalidError
from servicekit.timestamps import timestamp
from services.recommendations import errors
from tests.recommendations.conftest import NOW, Caller, line, reason
from tests.recommendations.shapes import check_archetype, check_profile, moment, number, text, texts, whole
from tests.support.waiting import eventually


def shop_history(customers: int, seed: int = 1) -> list[order_pb2.OrderLine]:
    """Return the orders of a shop whose customers come back now and then."""
    random = np.random.default_rng(seed)
    lines = []
    for customer in range(customers):
        when = NOW - timedelta(days=int(random.integers(200, 400)))
        for order in range(int(random.integers(1, 8))):
            if when >= NOW:
                break
            lines += [
                line(
                    f"o-{customer}-{order}",
                    f"c-{customer}",
                    when,
                    product_id=f"p-{product}",
                    product_name=f"Product {product}",
                    quantity=int(random.integers(1, 4)),
                    unit_price=f"{random.uniform(5, 40):.2f}",
                )
                for product in random.choice(30, 2, replace=False)
            ]
            when += timedelta(days=float(random.exponential(45)) + 1)
    return lines


async def cards(shop: Caller, *customer_ids: str) -> dict[str, change_service_pb2.CustomerCard]:
    """Return the cards of customers by id."""
    request = change_service_pb2.BatchGetCustomerCardsRequest(customer_ids=customer_ids)
    answer = await shop.running.changes.BatchGetCustomerCards(request, metadata=shop.metadata)
    return {card.customer_id: card for card in answer.cards}


async def get_customer(shop: Caller, customer_id: str) -> bytes:
    """Return a customer by the public API."""
    request = customer_service_pb2.GetCustomerRequest(customer_id=customer_id)
    body = await shop.running.customer.GetCustomer(request, metadata=shop.metadata)
    return bytes(body.data)


async def changes(shop: Caller, cursor: str = "") -> tuple[list[tuple[int, str]], str]:
    """Return what the log says of this tenant after a cursor, and the next cursor.

    The log shows what no transaction in flight can precede any more, so a mark is set and read up to.
    """
    mark = f"mark-{uuid7()}"
    request = customer_service_pb2.SetCustomerContactRequest(customer_id=mark)
    await shop.running.customer.SetCustomerContact(request, metadata=shop.metadata)
    found: list[tuple[int, str]] = []

    async def reached() -> bool:
        nonlocal cursor
        request = change_service_pb2.ListChangesRequest(cursor=cursor, limit=5000)
        answer = await shop.running.changes.ListChanges(request, metadata=shop.issuer.metadata("log.read"))
        cursor = answer.cursor
        found.extend((one.kind, one.subject) for one in answer.changes if one.tenant_id == str(shop.tenant_id))
        return any(subject == mark for _, subject in found)

    await eventually(reached)
    return [(kind, subject) for kind, subject in found if not subject.startswith("mark-")], cursor


async def test_the_profile_is_the_same_everywhere(shop: Caller) -> None:
    """The public API, the frontend's alias and the card hold the very same bytes."""
    await shop.import_whole(shop_history(20))
    (card,) = (await cards(shop, "c-3")).values()
    body = await get_customer(shop, "c-3")
    check_profile(orjson.loads(body))
    assert card.profile_json.encode() == body
    assert await shop.ask("GetCustomerProfile", customer_id="c-3") == orjson.loads(body)
    assert card.lifetime_value == orjson.loads(body)["business_metrics"]["lifetime_value"]


async def test_a_small_shop_says_that_evidence_is_missing(shop: Caller) -> None:
    """A first-time buyer in a small shop has no churn probability at all in the card."""
    await shop.buy(line("o-1", "c-1", NOW - timedelta(days=5)))
    card = (await cards(shop, "c-1"))["c-1"]
    assert not card.HasField("churn_probability")
    assert card.lifetime_value == 30.0
    risk = await shop.ask("GetChurnRisk", customer_id="c-1")
    assert risk["evidence"] == "insufficient"
    assert "Insufficient evidence" in risk["recommendation"]


async def test_figures_stay_right_as_days_pass(shop: Caller) -> None:
    """Without any run in between, a read ten days later counts ten days more."""
    await shop.import_whole(shop_history(20))
    before = await shop.ask("GetCustomerProfile", customer_id="c-3")
    shop.running.clock.advance(days=10)
    after = await shop.ask("GetCustomerProfile", customer_id="c-3")
    check_profile(after)
    for figure in ("customer_tenure_days", "days_since_last_purchase"):
        assert after["business_metrics"][figure] == before["business_metrics"][figure] + 10
    assert after["last_purchase"]["days_ago"] == before["last_purchase"]["days_ago"] + 10
    assert (await cards(shop, "c-3"))["c-3"].profile_json.encode() == await get_customer(shop, "c-3")


async def test_the_log_names_who_changed_and_nobody_else(shop: Caller) -> None:
    """An order names its customer; the same order again names nobody."""
    await shop.import_whole(shop_history(5))
    _, cursor = await changes(shop)
    order = line("o-new", "c-2", NOW - timedelta(hours=1))
    await shop.buy(order)
    named, cursor = await changes(shop, cursor)
    assert named == [(change_service_pb2.Change.KIND_CUSTOMER, "c-2")]
    await shop.buy(order)
    assert (await changes(shop, cursor))[0] == []


async def test_the_bell_rings_after_the_commit(shop: Caller) -> None:
    """Who waits for the log is woken, and then finds the change."""
    _, cursor = await changes(shop)
    await shop.running.doorbell.wait("recommendations.log", 0.01)
    await shop.buy(line("o-1", "c-1", NOW))
    assert await shop.running.doorbell.wait("recommendations.log", 10)
    assert (await changes(shop, cursor))[0] == [(change_service_pb2.Change.KIND_CUSTOMER, "c-1")]


async def test_a_malformed_cursor_is_refused(shop: Caller) -> None:
    """A cursor that the log never gave out is an error, not the beginning."""
    request = change_service_pb2.ListChangesRequest(cursor="yesterday")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.running.changes.ListChanges(request, metadata=shop.issuer.metadata("log.read"))
    assert reason(refused.value) == "CURSOR_INVALID"


async def test_one_customer_at_a_time_comes_to_the_same_as_all_at_once(shop: Caller, other_shop: Caller) -> None:
    """Orders taken one by one give the same profiles and archetypes as an import of all."""
    lines = shop_history(12)
    await shop.import_whole(lines)
    for one in {one.order_id: None for one in lines}:
        await other_shop.buy(*(each for each in lines if each.order_id == one))
    for customer in range(12):
        together = await shop.ask("GetCustomerProfile", customer_id=f"c-{customer}")
        single = await other_shop.ask("GetCustomerProfile", customer_id=f"c-{customer}")
        for profile in (together, single):
            # Counts of the whole shop are as of when the profile was stored.
            profile["archetype"] = profile["archetype"]["id"]
        assert single == together
        whole_group = await shop.ask("GetArchetype", archetype_id=together["archetype"])
        assert await other_shop.ask("GetArchetype", archetype_id=together["archetype"]) == whole_group


async def test_archetypes_are_found_with_and_without_their_prefix(shop: Caller) -> None:
    """The client shows ids without the prefix, so both forms are taken."""
    await shop.import_whole(shop_history(5))
    profile = await shop.ask("GetCustomerProfile", customer_id="c-1")
    found = await shop.ask("GetArchetype", archetype_id=profile["archetype"]["id"].removeprefix("arch_"))
    check_archetype(found)
    assert found == profile["archetype"]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("GetArchetype", archetype_id="arch_nobody")
    assert reason(refused.value) == "ARCHETYPE_NOT_FOUND"


NAMED = ["GetCustomerProfile", "GetChurnRisk", "GetNextPurchase", "GetLtvForecast", "ListCustomerOrders"]


@pytest.mark.parametrize("method", NAMED)
async def test_foreign_and_missing_customers_look_the_same(shop: Caller, other_shop: Caller, method: str) -> None:
    """Another shop's customer is as unknown as one that never was; equal ids of two shops do not meet."""
    await other_shop.buy(line("o-1", "c-1", NOW))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask(method, customer_id="c-1")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason(refused.value) == "CUSTOMER_NOT_FOUND"
    assert await cards(shop, "c-1") == {}
    await shop.buy(line("o-1", "c-1", NOW, unit_price="7.00"))
    assert (await shop.ask("GetCustomerProfile", customer_id="c-1"))["business_metrics"]["lifetime_value"] == 7.0
    assert (await other_shop.ask("GetCustomerProfile", customer_id="c-1"))["business_metrics"]["lifetime_value"] == 30.0


async def test_churn_next_purchase_and_forecast_have_their_shapes(shop: Caller) -> None:
    """Every number of the three answers is a number, every text a text."""
    await shop.import_whole(shop_history(150))
    for customer in ("c-1", "c-2", "c-3"):
        risk = await shop.ask("GetChurnRisk", customer_id=customer)
        number(risk["churn_risk_score"])
        text(risk["customer_id"], risk["risk_level"], risk["recommendation"], risk["model_version"])
        texts(risk["risk_factors"])
        assert risk["risk_factors"]
        following = await shop.ask("GetNextPurchase", customer_id=customer)
        if following.get("prediction") != "insufficient_data":
            whole(following["days_since_last_order"])
            whole(following["predicted_days_until_next"])
            number(following["expected_frequency_days"])
            assert following["probability"] in {"low", "medium", "high"}
            assert following["risk_level"] in {"at_risk", "due", "on_track"}
            text(following["purchase_frequency_archetype"])
        forecast = await shop.ask("GetLtvForecast", customer_id=customer, months=6)
        assert forecast["forecast_months"] == len(forecast["monthly_forecast"]) == 6
        for key in ("current_ltv", "avg_order_value", "churn_risk", "predicted_ltv"):
            number(forecast[key])
        for row in forecast["monthly_forecast"]:
            for value in row.values():
                number(value)
    assert len((await shop.ask("GetLtvForecast", customer_id="c-1"))["monthly_forecast"]) == 12


async def order_list(shop: Caller, **fields: Any) -> Any:
    """Return a list of orders after checking its shape."""
    found = await shop.ask("ListCustomerOrders", customer_id="c-1", **fields)
    text(found["customer_id"], found["total_spent"])
    float(found["total_spent"])
    whole(found["total_orders"])
    for order in found["orders"]:
        text(order["order_id"], order["order_number"], order["total_price"], order["fulfillment_status"])
        moment(order["created_at"])
        texts(order["tracking_numbers"])
        for item in order["line_items"]:
            text(item["title"], item["vendor"], item["price"])
            whole(item["quantity"])
    return found


async def test_orders_are_listed_newest_first_in_the_clients_keys(shop: Caller) -> None:
    """Filters narrow the list, and the count and the sum are of all that they leave."""
    await shop.buy(
        line("o-1", "c-1", NOW - timedelta(days=300), product_name="Red Lantern"),
        line("o-2", "c-1", NOW - timedelta(days=50), product_name="Mug 100%", quantity=2),
        line("o-3", "c-1", NOW - timedelta(days=5), product_name="Blue Lantern"),
        line("o-9", "c-2", NOW - timedelta(days=5)),
    )
    every = await order_list(shop)
    assert [order["order_id"] for order in every["orders"]] == ["o-3", "o-2", "o-1"]
    assert (every["total_orders"], every["total_spent"]) == (3, "120.00")
    assert (await order_list(shop, limit=1))["total_orders"] == 3
    lanterns = await order_list(shop, search_terms="lantern, saucer")
    assert [order["order_id"] for order in lanterns["orders"]] == ["o-3", "o-1"]
    assert [order["order_id"] for order in (await order_list(shop, search_terms="100%"))["orders"]] == ["o-2"]
    assert [order["order_id"] for order in (await order_list(shop, months_ago=2))["orders"]] == ["o-3", "o-2"]
    day = (NOW - timedelta(days=50)).date().isoformat()
    span = await order_list(shop, start_date=day, end_date=day)
    assert [order["order_id"] for order in span["orders"]] == ["o-2"]


async def test_days_that_do_not_exist_are_refused(shop: Caller) -> None:
    """The thirtieth of February is a client's mistake, not ours."""
    await shop.buy(line("o-1", "c-1", NOW))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("ListCustomerOrders", customer_id="c-1", start_date="2026-02-30")
    assert reason(refused.value) == "REQUEST_INVALID"


async def test_a_customer_is_found_by_e_mail(shop: Caller, other_shop: Caller) -> None:
    """The address is found in any case of letters, by its own shop only, and not after it was removed."""
    request = customer_service_pb2.SetCustomerContactRequest(
        customer_id="c-7", email="Ann@Example.com", display_name="Ann"
    )
    contact = await shop.running.customer.SetCustomerContact(request, metadata=shop.metadata)
    assert (contact.customer_id, contact.email, contact.display_name) == ("c-7", "Ann@Example.com", "Ann")
    found = await shop.ask("FindCustomer", email="ann@example.COM")
    assert found == {"customer_id": "c-7", "email": "Ann@Example.com", "name": "Ann", "found": True}
    check_profile(await shop.ask("GetCustomerProfile", customer_id="c-7"))
    with pytest.raises(grpc.aio.AioRpcError) as foreign:
        await other_shop.ask("FindCustomer", email="ann@example.com")
    assert reason(foreign.value) == "CUSTOMER_NOT_FOUND"
    request.email = ""
    await shop.running.customer.SetCustomerContact(request, metadata=shop.metadata)
    with pytest.raises(grpc.aio.AioRpcError) as removed:
        await shop.ask("FindCustomer", email="ann@example.com")
    assert reason(removed.value) == "CUSTOMER_NOT_FOUND"


async def test_many_contacts_come_to_what_one_after_the_other_would(shop: Caller, other_shop: Caller) -> None:
    """Each is found, those with one address become one customer, and what is older than what is known stays out."""
    contacts = [
        customer_service_pb2.SetCustomerContactRequest(
            customer_id=f"c-{n}",
            email=f"{'same' if n < 2 else n}@example.com",
            display_name=f"Ann {n}",
            change_time=timestamp(NOW),
        )
        for n in range(6)
    ]
    for caller, batches in ((shop, [contacts]), (other_shop, [[one] for one in contacts])):
        for batch in batches:
            request = customer_service_pb2.SetCustomerContactsRequest(contacts=batch)
            answer = await caller.running.customer.SetCustomerContacts(request, metadata=caller.metadata)
            assert [one.customer_id for one in answer.contacts] == [one.customer_id for one in batch]
    found = [[await one.ask("FindCustomer", email=each.email) for each in contacts] for one in (shop, other_shop)]
    assert found[0] == found[1]
    older = customer_service_pb2.SetCustomerContactRequest(
        customer_id="c-5", email="old@example.com", change_time=timestamp(NOW - timedelta(days=1))
    )
    request = customer_service_pb2.SetCustomerContactsRequest(contacts=[older])
    answer = await shop.running.customer.SetCustomerContacts(request, metadata=shop.metadata)
    assert answer.contacts[0].email == "5@example.com"


async def test_random_customers_are_for_demo_shops_only(shop: Caller) -> None:
    """Without the feature the route does not exist; with it some customer with purchases comes back."""
    await shop.buy(line("o-1", "c-1", NOW))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.ask("GetRandomCustomer")
    assert reason(refused.value) == "CUSTOMER_NOT_FOUND"
    token = shop.issuer.token("customers.read", tenant_id=shop.tenant_id, features=["demo"])
    from rapport.frontend.v1 import assistant_pb2

    body = await shop.running.assistant.GetRandomCustomer(
        assistant_pb2.GetRandomCustomerRequest(), metadata=(("authorization", f"Bearer {token}"),)
    )
    found = orjson.loads(body.data)
    check_profile(found)
    assert found["customer_id"] == "c-1"


async def test_the_configuration_is_served(shop: Caller) -> None:
    """Axes and segments come with their names for people."""
    found = await shop.ask("GetSystemConfiguration")
    assert found["axis_count"] == 7
    for axis in found["axes"]:
        text(axis["name"], axis["display_name"], axis["description"], axis["category"])
        for segment in axis["segments"]:
            text(segment["name"], segment["display_name"], segment["description"])
            whole(segment["order"])


async def test_shipments_of_other_tenants_orders_are_refused(shop: Caller, other_shop: Caller) -> None:
    """An order of another shop does not exist here."""
    await other_shop.buy(line("o-1", "c-1", NOW))
    parcel = order_pb2.Shipment(order_id="o-1", tracking_number="1Z9", status="pending")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await shop.orders("RecordShipments", order_service_pb2.RecordShipmentsRequest(shipments=[parcel]))
    assert reason(refused.value) == "ORDER_NOT_FOUND"


def test_every_error_has_its_reason_in_the_contract() -> None:
    """The classes of this service and the values of the enum are the same."""
    ours = {
        error.reason
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, DomainError) and error.__module__ == errors.__name__
    }
    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 - an enum
    assert ours | {CursorInvalidError.reason} == declared - {"UNSPECIFIED"}
