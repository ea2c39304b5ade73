"""What the OpenAPI document allows and forbids, tried through the gateway: nothing makes it fail or break its word."""

import asyncio
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway import pages
from tests.support.world import Shop, SuiteUnderTest, furnish, new_shop

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
DOCUMENT = schemathesis.openapi.from_dict(json.loads(pages.openapi("")))
# A stream has no end that a test could wait for.
OPERATIONS = {
    operation.label: operation
    for found in DOCUMENT.get_all_operations()
    for operation in [found.ok()]
    if ":watch" not in operation.path
}
# Where nothing is asked for, or any bytes at all, nothing can be wrong with what is asked.
CASES = [
    pytest.param(label, mode, id=f"{label} {mode.name.lower()}")
    for label, operation in OPERATIONS.items()
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE
    or operation.definition.raw.get("security") != []
    or any(operation.iter_parameters())
    or "*/*" not in operation.definition.raw.get("requestBody", {"content": {"*/*": {}}})["content"]
]
EXAMPLES = 10


@pytest.fixture(scope="module")
def shop(suite: SuiteUnderTest) -> Shop:
    """A shop with something of everything, for the whole module."""

    async def make() -> Shop:
        return await furnish(suite, await new_shop(suite, "fuzzed"))

    return asyncio.run(make())


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_no_request_makes_the_gateway_fail_or_break_its_word(
    label: str, mode: GenerationMode, suite: SuiteUnderTest, shop: Shop
) -> None:
    """No answer is a 5xx, and each has a status, a media type and a shape that the document promises."""

    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def check(case: Any) -> None:
        case.call_and_validate(
            base_url=suite.https_url,
            headers={"x-api-key": shop.api_key},
            checks=CHECKS,
            verify=suite.ca_file,
            timeout=20,
        )

    check()
