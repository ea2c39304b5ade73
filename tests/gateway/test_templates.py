"""Path templates become expressions that match what the transcoder matches."""

import re

import pytest

from gateway.edge import templates


@pytest.mark.parametrize(
    ("template", "matching", "other"),
    [
        ("/v1/things", "/v1/things", "/v1/things/1"),
        ("/v1/things/{id}", "/v1/things/a%2Fb", "/v1/things/a/b"),
        ("/v1/things/{thing.id}/parts/{part}", "/v1/things/1/parts/2", "/v1/things/1/parts"),
        ("/v1/{name=things/*}", "/v1/things/1", "/v1/others/1"),
        ("/v1/{name=files/**}", "/v1/files/a/b/c", "/v1/files/"),
        ("/v1/things/{id}:close", "/v1/things/1:close", "/v1/things/1:open"),
        ("/v1/a.b", "/v1/a.b", "/v1/aXb"),
    ],
)
def test_a_template_matches_its_paths_and_no_others(template: str, matching: str, other: str) -> None:
    """Literals are taken literally, a field is one segment, `**` is the rest."""
    expression = templates.translate(template).expression
    assert re.fullmatch(expression, matching)
    assert not re.fullmatch(expression, other)


def test_the_custom_verb_is_told_apart() -> None:
    """The verb after the colon is known without its colon."""
    assert templates.translate("/v1/things/{id}:close").verb == "close"
    assert templates.translate("/v1/things/{id}").verb == ""


@pytest.mark.parametrize("template", ["v1/things", "/v1/{id", "/v1/id}", "/v1/{}"])
def test_a_malformed_template_is_refused(template: str) -> None:
    """A slip in a proto fails where it is made, not in Envoy."""
    with pytest.raises(ValueError, match="template"):
        templates.translate(template)


def test_the_fields_of_a_path_are_named_in_order() -> None:
    """Dotted fields keep their dots."""
    assert templates.fields("/v1/{a.b}/x/{c=d/*}:go") == ["a.b", "c"]


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", False),
        ("http://localhost:*", "http://localhost:5173.evil.example", False),
        ("https://*.example.com", "https://shop.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", False),
        ("https://*.example.com", "https://shopXexample.com", False),
    ],
)
def test_an_origin_pattern_stands_for_one_label_or_the_port(pattern: str, origin: str, allowed: bool) -> None:
    """A star never reaches over a dot."""
    assert bool(re.fullmatch(templates.origin(pattern), origin)) is allowed


@pytest.mark.parametrize(
    ("expression", "head"),
    [
        ("/docs/?", "/docs"),
        (r"/openapi\.json/?", "/openapi.json"),
        ("/(readyz|health/ready)/?", ""),
        ("(?:/v1/tickets/[^/]+:close|/v1/tickets/[^/]+)/*", "/v1/tickets/"),
        ("(?:/v1/tickets|/v1/tenants/[^/]+)/*", "/v1/t"),
        (r"/rapport\.crm\.v1\.A/B|/rapport\.crm\.v1\.C/D", "/rapport.crm.v1."),
    ],
)
def test_head_of_an_expression_is_what_everything_it_matches_begins_with(expression: str, head: str) -> None:
    """An optional character and an alternative end it, since a path may do without them."""
    assert templates.literal_head(expression) == head
