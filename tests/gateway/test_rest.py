"""REST through the transcoder: names, defaults, slashes, query parameters."""

import httpx
import pytest


def test_answers_have_proto_names_numbers_and_defaults(client: httpx.Client) -> None:
    """Snake case, JSON numbers, and what is empty is said."""
    answer = client.post("/v1/things", json={"name": "ü", "size": 3}).json()
    assert (answer["name"], answer["size"], answer["empty_list"], answer["colour"]) == ("ü", 3, [], "")


@pytest.mark.parametrize("path", ["/v1/things/7", "/v1/things/7/", "/api/things/7", "/api/things/7//"])
def test_both_slash_forms_are_served_without_a_redirect(client: httpx.Client, path: str) -> None:
    """The same answer at once."""
    response = client.get(path, follow_redirects=False)
    assert (response.status_code, response.json()["id"]) == (200, "7")


def test_the_slash_form_of_a_collection_takes_a_query(client: httpx.Client) -> None:
    """The slash stands before the question mark."""
    assert client.get("/api/things/7/?colour=red").json()["colour"] == "red"
    assert client.post("/api/things/", json={"name": "x"}).json()["name"] == "x"


def test_the_frontends_routes_ignore_parameters_that_they_do_not_know(client: httpx.Client) -> None:
    """The client adds `_t` to every draft."""
    assert client.get("/api/things/7?_t=1&colour=red&x=y").json()["colour"] == "red"


def test_the_public_api_refuses_parameters_that_it_does_not_know(client: httpx.Client) -> None:
    """A slip of the pen is told, with its name."""
    response = client.get("/v1/things/7?color=red")
    assert response.status_code == 400
    assert "color" in response.json()["detail"]


def test_a_custom_verb_reaches_its_method(client: httpx.Client) -> None:
    """And is not taken for an id."""
    assert client.post("/v1/things/7:close", json={}).json()["id"] == "7"


def test_an_encoded_slash_stays_part_of_an_id(client: httpx.Client) -> None:
    """Customers' ids are the shops' own words."""
    assert client.get("/v1/things/%C3%BC%2Fx").json()["id"] == "ü/x"


def test_answers_tell_nothing_of_grpc(client: httpx.Client) -> None:
    """What the transcoder leaves behind is taken away."""
    assert not [name for name in client.get("/v1/things/7").headers if name.startswith("grpc")]


def test_http2_and_http1_are_spoken(client: httpx.Client) -> None:
    """By ALPN; this client has HTTP/1.1, the webhook tests speak HTTP/2."""
    assert client.get("/v1/things/7").http_version == "HTTP/1.1"


def test_the_service_learns_how_long_there_is_somebody_who_waits(client: httpx.Client) -> None:
    """Its deadline is the route's."""
    left = float(client.get("/v1/things/7").json()["headers"]["seconds-left"])
    assert 5 < left <= 15


def test_every_request_has_an_id_of_its_own(client: httpx.Client) -> None:
    """The service and the client are told the same one."""
    first, second = client.get("/v1/things/7"), client.get("/v1/things/7")
    assert first.headers["x-request-id"] == first.json()["headers"]["x-request-id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
