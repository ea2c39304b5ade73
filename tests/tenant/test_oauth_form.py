"""The form and the header of a token request, read strictly: any bytes at all become a request or a refusal."""

import json
from base64 import b64encode
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.identity import HostRules
from services.tenant import oauth
from services.tenant.oauth import FORM, OAuthError, TokenRequest, token_request

GRANT = "grant_type=client_credentials"
BODY = f"{GRANT}&client_id=acme&client_secret=rpk_x"


def basic(client_id: str, secret: str) -> str:
    """The header of a client, encoded as RFC 6749 asks for it."""
    return "Basic " + b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def refused(body: str | bytes, *authorizations: str, content_type: str = FORM) -> str:
    """The error that a request is refused with."""
    with pytest.raises(OAuthError) as refusal:
        token_request(content_type, body.encode() if isinstance(body, str) else body, authorizations)
    return refusal.value.error


def asked(body: str, *authorizations: str, content_type: str = FORM) -> TokenRequest:
    """What a request asks for."""
    return token_request(content_type, body.encode(), authorizations)


def test_a_client_proves_itself_in_the_form_or_in_the_header() -> None:
    """Both ways say the same, also with an id in the form beside the header."""
    expected = TokenRequest(oauth.Client("acme", "rpk_x"), None)
    assert asked(BODY) == expected
    assert asked(GRANT, basic("acme", "rpk_x")) == expected
    assert asked(f"{GRANT}&client_id=acme", basic("acme", "rpk_x").replace("Basic", "bAsIc")) == expected
    assert asked(BODY, content_type=f"{FORM.upper()}; charset=UTF-8") == expected
    assert "rpk_x" not in repr(expected)


def test_parameters_without_a_value_and_unknown_ones_are_left_out() -> None:
    """As section 3.2 says."""
    assert asked(f"&&{BODY}&scope=&resource=x&=&audience").scopes is None


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [("tickets.read", ("tickets.read",)), ("b+a+b", ("b", "a")), ("a%20b", ("a", "b"))],
)
def test_scopes_are_a_list_without_repetitions(scope: str, scopes: tuple[str, ...]) -> None:
    """In the order in which they were asked for."""
    assert asked(f"{BODY}&scope={scope}").scopes == scopes


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param("", "invalid_request", id="nothing"),
        pytest.param("client_id=acme&client_secret=x", "invalid_request", id="no grant type"),
        pytest.param("grant_type=&client_id=acme&client_secret=x", "invalid_request", id="an empty grant type"),
        pytest.param("grant_type=password&username=a&password=b", "unsupported_grant_type", id="a password"),
        pytest.param("grant_type=Client_Credentials", "unsupported_grant_type", id="another case"),
        pytest.param(f"{BODY}&grant_type=client_credentials", "invalid_request", id="a grant type twice"),
        pytest.param(f"{BODY}&scope=a&scope=a", "invalid_request", id="a scope twice"),
        pytest.param(f"{BODY}&x=1&%78=2", "invalid_request", id="an unknown parameter twice"),
        pytest.param(f"{BODY}&x=%", "invalid_request", id="half a percent"),
        pytest.param(f"{BODY}&x=%zz", "invalid_request", id="a percent without hexadecimal digits"),
        pytest.param(f"{BODY}&x=%ff", "invalid_request", id="not UTF-8 in percents"),
        pytest.param(BODY.encode() + b"&x=\xff", "invalid_request", id="not ASCII"),
        pytest.param(BODY.encode() + "&x=ü".encode(), "invalid_request", id="UTF-8 without percents"),
        pytest.param(f"{BODY}&x={'y' * 20_000}", "invalid_request", id="too long"),
        pytest.param("&".join(f"p{n}=1" for n in range(100)), "invalid_request", id="too many parameters"),
        pytest.param(f"{BODY}&scope=a++b", "invalid_scope", id="two spaces in the scope"),
        pytest.param(f"{BODY}&scope=+a", "invalid_scope", id="a leading space in the scope"),
        pytest.param(f"{BODY}&scope=a%22b", "invalid_scope", id="a quote in the scope"),
        pytest.param(f"{BODY}&scope=%00", "invalid_scope", id="a null in the scope"),
        pytest.param(f"{BODY}&scope=%C3%BC", "invalid_scope", id="a letter of no scope"),
        pytest.param(GRANT, "invalid_client", id="no client"),
        pytest.param(f"{GRANT}&client_id=acme", "invalid_client", id="no secret"),
        pytest.param(f"{GRANT}&client_secret=x", "invalid_client", id="no id"),
        pytest.param(f"{GRANT}&client_id=acme&client_secret={'x' * 257}", "invalid_client", id="an endless secret"),
        pytest.param(json.dumps({"grant_type": "client_credentials"}), "invalid_request", id="JSON as a form"),
    ],
)
def test_these_forms_are_refused(body: str | bytes, error: str) -> None:
    """Each with the code that RFC 6749 has for it."""
    assert refused(body) == error


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "text/plain", "multipart/form-data; boundary=x", f"{FORM}x", "\x00"]
)
def test_any_other_type_of_body_is_refused(content_type: str) -> None:
    """Whatever stands in it."""
    assert refused(BODY, content_type=content_type) == "invalid_request"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !",
        "Basic YWNtZQ==",  # "acme", no colon
        "Basic YWNtZTo=",  # "acme:", no secret
        "Basic OnJwa194",  # ":rpk_x", no id
        "Basic /w==",  # not ASCII
        "Basic YWNtZTpycGtfeA",  # without its padding
        "Basic YWNtZTolenI=",  # "acme:%zr"
        "Basic YWNtZTpycGtfeA== Basic YWNtZTpycGtfeA==",
        "Bearer YWNtZTpycGtfeA==",
        "Digest username=acme",
        basic("acme", "x" * 300),
    ],
)
def test_a_header_that_proves_nothing_is_an_unknown_client(authorization: str) -> None:
    """Also beside a body that would."""
    assert refused(GRANT, authorization) == "invalid_client"


def test_two_proofs_are_refused_even_when_they_agree() -> None:
    """A client uses one way per request (section 2.3), and one header."""
    good = basic("acme", "rpk_x")
    assert refused(BODY, good) == "invalid_request"
    assert refused(f"{GRANT}&client_id=other", good) == "invalid_request"
    assert refused(GRANT, good, good) == "invalid_request"


@given(body=st.binary(max_size=400), content_type=st.sampled_from([FORM, ""]), header=st.none() | st.text(max_size=60))
def test_any_bytes_become_a_request_or_a_refusal(body: bytes, content_type: str, header: str | None) -> None:
    """Nothing else is raised, and every refusal is JSON that holds nothing of what was sent."""
    refusals: list[OAuthError] = []
    try:
        token_request(content_type, body, [] if header is None else [header])
    except OAuthError as error:
        refusals.append(error)
    for refusal in refusals:
        document = json.loads(refusal.document)
        assert list(document) == ["error", "error_description"]
        assert refusal.document.startswith(b'{"error":')
        assert document["error_description"].isascii()


@given(text=st.text(max_size=80))
def test_what_is_form_encoded_is_read_back(text: str) -> None:
    """By either of the usual encoders, whatever the text."""
    try:
        plus, percent = quote_plus(text), quote(text, safe="")
    except UnicodeEncodeError:
        return
    assert oauth.decoded(plus) == oauth.decoded(percent) == text


@given(client_id=st.text(min_size=1, max_size=60), secret=st.text(min_size=1, max_size=60))
def test_both_ways_to_prove_oneself_agree_on_any_text(client_id: str, secret: str) -> None:
    """A form and a header that were encoded as the standard says carry the same client."""
    try:
        form = urlencode({"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret})
    except UnicodeEncodeError:
        return
    expected = oauth.Client(client_id, secret)
    assert asked(form).client == asked(GRANT, basic(client_id, secret)).client == expected


def test_a_token_holds_what_is_asked_for_and_never_more() -> None:
    """Without a wish it is all; a scope that is not held refuses the whole request."""
    held = ("a", "b")
    assert oauth.granted(None, held) == {"a", "b"}
    assert oauth.granted(("b",), held) == {"b"}
    with pytest.raises(OAuthError) as refusal:
        oauth.granted(("b", "c"), held)
    assert refusal.value.error == "invalid_scope"


@pytest.mark.parametrize(
    ("host", "issuer"),
    [
        ("api.example.com", "https://api.example.com"),
        ("acme.localhost:8443", "https://acme.localhost:8443"),
        ("[::1]:8443", "https://[::1]:8443"),
        ("LOCALHOST", "https://localhost"),
        ("", "https://localhost"),
        ("evil.example", "https://localhost"),
        ("evil.example:8443", "https://localhost"),
        ("evillocalhost", "https://localhost"),
        ("localhost.evil.example", "https://localhost"),
        ("evil.example/path", "https://localhost"),
        ('a"b', "https://localhost"),
        ("user@host", "https://localhost"),
    ],
)
def test_the_description_names_the_host_that_was_asked(host: str, issuer: str) -> None:
    """Its issuer is where it was read, as RFC 8414 demands; what is no host or not the suite's own is not repeated."""
    hosts = HostRules("localhost", ["api.example.com"])
    document = json.loads(oauth.authorization_server(host, hosts, ["b", "a"]))
    assert document["issuer"] == issuer
    assert document["token_endpoint"] == f"{issuer}/oauth2/token"
    assert document["jwks_uri"] == f"{issuer}/.well-known/jwks.json"
    assert document["scopes_supported"] == ["a", "b"]
    assert document["grant_types_supported"] == ["client_credentials"]
