"""The OpenAPI document is valid and says what the contracts say."""

from typing import Any

import pytest
from openapi_spec_validator import validate

from gateway import pages
from gateway.edge import contracts
from tests.gateway.upstream import ROOT, compile_image
from tools import openapi


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of the probe's contract."""
    return openapi.build(compile_image(tmp_path_factory.mktemp("image")).read_bytes())


def test_the_documents_are_valid(probe: dict[str, Any]) -> None:
    """The real one and the probe's, by the specification's own schema."""
    validate(probe)
    validate(openapi.build())


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
