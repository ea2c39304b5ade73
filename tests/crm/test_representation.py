"""What stands in a log or an error when somebody writes down an object that holds what vendors sent, or are sent."""

import pytest

from services.crm.providers.api import Call, Reply
from services.crm.providers.provider import Request

MARK = "planted"


@pytest.mark.parametrize(
    "holder",
    [
        Request("POST", f"https://rapport.example/webhooks/zendesk/{MARK}", (("x-token", MARK),), MARK.encode()),
        Call("GET", url=f"https://shop.example/?key={MARK}", query=(("key", MARK),), headers={"authorization": MARK}),
        Call("POST", "/token", form=(("client_secret", MARK),), json={"password": MARK}),
        Reply(200, {"set-cookie": MARK}, MARK.encode()),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_no_address_header_or_body_shows(holder: Request | Call | Reply) -> None:
    """Each of them can hold a credential or what customers wrote."""
    assert MARK not in repr(holder)
    assert type(holder).__name__ in repr(holder)
