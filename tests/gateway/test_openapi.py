"""The OpenAPI document is valid and says what the contracts say."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from gateway import pages
from gateway.edge import contracts
from tests.gateway.upstream import ROOT, compile_image
from tools import openapi

WITHOUT_SHAPE = {
    "Assistant_CompleteAction",
    "Assistant_FindCustomer",
    "Assistant_GetArchetype",
    "Assistant_GetChurnRisk",
    "Assistant_GetCustomerProfile",
    "Assistant_GetDraft",
    "Assistant_GetLtvForecast",
    "Assistant_GetNextPurchase",
    "Assistant_GetRandomCustomer",
    "Assistant_GetRecommendation",
    "Assistant_GetSystemConfiguration",
    "Assistant_ListCustomerOrders",
    "Assistant_RegenerateDraft",
    "CustomerService_GetCustomer",
    "WebhookService_ReceivePredecessorWebhook",
    "WebhookService_ReceiveWebhook",
}
"""Methods whose JSON answer is a body that only their comment describes."""
LARGEST = 900_000


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    """The document of the repository's contracts, as anybody reads it."""
    document: dict[str, Any] = json.loads(openapi.text())
    return document


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of the probe's contract."""
    return openapi.build(compile_image(tmp_path_factory.mktemp("image")).read_bytes())


def test_the_documents_are_valid(probe: dict[str, Any], real: dict[str, Any]) -> None:
    """The real one and the probe's, by the specification's own schema."""
    validate(probe)
    validate(real)


def media(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name the operation and the media type of every request body and every successful answer."""
    return [
        (operation["operationId"].rstrip("0123456789"), kind, one)
        for verbs in document["paths"].values()
        for operation in verbs.values()
        for content in (operation.get("requestBody", {}), operation["responses"]["200"])
        for kind, one in content.get("content", {}).items()
    ]


def test_every_body_and_answer_has_an_example(real: dict[str, Any]) -> None:
    """Except any bytes, a stream of events, and the answers that only words describe."""
    found = [(name, one) for name, kind, one in media(real) if kind not in {"*/*", openapi.EVENTS}]
    assert {name for name, one in found if not one["schema"]} == WITHOUT_SHAPE
    assert [name for name, one in found if one["schema"] and "example" not in one] == []


def test_every_example_is_what_its_schema_allows(real: dict[str, Any]) -> None:
    """Formats too."""
    checker = Draft202012Validator.FORMAT_CHECKER
    for name, _, one in media(real):
        if "example" in one:
            schema = {"components": real["components"], **one["schema"]}
            errors = list(Draft202012Validator(schema, format_checker=checker).iter_errors(one["example"]))
            assert errors == [], name


def test_an_example_of_a_request_holds_what_a_client_chooses(real: dict[str, Any]) -> None:
    """Not what the server makes."""
    body = real["paths"]["/v1/apiKeys"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"] == {"name": "Order import", "scopes": ["tickets.read"], "kind": "KIND_SECRET"}


def test_an_example_shows_a_new_key_only_where_it_is_made(real: dict[str, Any]) -> None:
    """As the answers themselves do."""
    keys = real["paths"]["/v1/apiKeys"]
    made, listed = (
        keys[verb]["responses"]["200"]["content"]["application/json"]["example"] for verb in ("post", "get")
    )
    assert made["key"].startswith("rpk_")
    assert [key["key"] for key in listed["api_keys"]] == [""]


def test_the_body_of_a_change_leaves_out_what_the_path_says(real: dict[str, Any]) -> None:
    """A ticket is named once."""
    body = real["paths"]["/v1/tickets/{ticket_id}"]["patch"]["requestBody"]["content"]["application/json"]["schema"]
    assert "id" not in body["properties"]
    assert "required" not in body


def test_the_token_endpoint_takes_a_form_and_answers_with_a_token(real: dict[str, Any]) -> None:
    """As RFC 6749 says, the refusals too."""
    token = real["paths"]["/oauth2/token"]["post"]
    form = token["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
    assert set(form["properties"]) == {"grant_type", "scope", "client_id", "client_secret"}
    answer = token["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(answer["required"]) == {"access_token", "token_type", "expires_in", "scope"}
    assert {"400", "401"} <= set(token["responses"])


def test_the_document_stays_small_with_its_examples(real: dict[str, Any]) -> None:
    """It is sent whole to whoever opens the docs page."""
    assert len(json.dumps(real, ensure_ascii=False, separators=(",", ":")).encode()) < LARGEST


def test_every_rule_of_the_contracts_has_its_operation() -> None:
    """And there is no operation beyond them."""
    image = contracts.parse((ROOT / "gen" / "rapport.binpb").read_bytes())
    expected = sum(len(method.bindings) for method in contracts.methods(image))
    assert sum(len(verbs) for verbs in openapi.build()["paths"].values()) == expected


def test_an_operation_tells_parameters_body_and_answer(probe: dict[str, Any]) -> None:
    """Path before query, names as in the proto, comments as descriptions."""
    read = probe["paths"]["/v1/things/{id}"]["get"]
    assert [(one["name"], one["in"]) for one in read["parameters"]] == [("id", "path"), ("colour", "query")]
    assert read["parameters"][0]["description"] == "The id."
    create = probe["paths"]["/v1/things"]["post"]
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["size"]["type"] == "integer"
    answer = create["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/rapport.probe.v1.Seen"}
    assert "empty_list" in probe["components"]["schemas"]["rapport.probe.v1.Seen"]["properties"]


def test_a_webhook_takes_any_bytes_without_a_credential(probe: dict[str, Any]) -> None:
    """Its credential is its token and signature."""
    webhook = probe["paths"]["/webhooks/{provider}/{token}"]["post"]
    assert webhook["security"] == []
    assert list(webhook["requestBody"]["content"]) == ["*/*"]


def test_every_operation_may_answer_with_a_problem(probe: dict[str, Any]) -> None:
    """One shape of error for all."""
    for verbs in probe["paths"].values():
        for operation in verbs.values():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


def test_the_page_that_is_served_names_the_public_address() -> None:
    """So that "try it" of any tool reaches the right place."""
    assert '"servers":[{"url":"https://api.example"}]' in pages.openapi("https://api.example")
    assert "http" not in pages.docs().replace("http-equiv", ""), "the docs page loads nothing from elsewhere"
