"""Helpshift's webhooks, good and bad: the token in the address and the domain in the body decide."""

from datetime import datetime
from urllib.parse import urlsplit

import orjson

from tests.support.vendors.cases import LARGE, Case, Table, accepted, refused
from tests.support.vendors.helpshift import HelpshiftSimulator


def cases(secret: str, now: datetime, url: str, _other: str) -> list[Case]:
    """Return the rows; a token that is changed is nobody's."""
    vendor = HelpshiftSimulator()
    vendor.open_issue("701", "The zip is broken", "It came like that.")
    body = vendor.webhook("701")
    event = orjson.loads(body)
    good = [*vendor.sign(body, secret, now, url).items()]
    path = urlsplit(url).path
    start = path.removesuffix(secret)
    update = {**event, "event_type": "update_issue", "data": {"id": 701, "updates": {"tags": {"added": ["x"]}}}}
    return [
        accepted("issue created", good, body),
        accepted("issue updated", good, orjson.dumps(update)),
        accepted("event that is not known", good, orjson.dumps({**event, "event_type": "user_created"})),
        accepted("no content type", [], body),
        accepted("query", good, body, path_query=f"{path}?source=helpshift"),
        refused("token too short", good, body, path_query=path[:-1]),
        refused("token too long", good, body, path_query=f"{path}A"),
        refused("token in another case", good, body, path_query=start + secret.swapcase()),
        refused("last character of the token changed", good, body, path_query=path[:-1] + _another(path[-1])),
        refused("token in the query", good, body, path_query=f"{start}token?token={secret}"),
        refused("token in a header", [*good, ("x-webhook-token", secret)], body, path_query=f"{start}token"),
        refused("token as Basic", [*good, ("authorization", "Basic dG9rZW4=")], body, path_query=f"{start}token"),
        refused("invented signature", [("x-helpshift-signature", secret)], body, path_query=f"{start}token"),
        refused("another domain", good, orjson.dumps({**event, "domain": "evil"})),
        refused("domain in another case", good, orjson.dumps({**event, "domain": "ACME"})),
        refused("no domain", good, orjson.dumps({name: event[name] for name in event if name != "domain"})),
        refused("domain that is a list", good, orjson.dumps({**event, "domain": ["acme"]})),
        refused("another domain in the issue", good, orjson.dumps({**event, "data": {"id": 701, "domain": "evil"}})),
        refused("body emptied", good, b""),
        refused("no JSON", good, b"domain=acme"),
        refused("JSON that is no object", good, b'["acme"]'),
        refused("body truncated", good, body[:-1]),
        refused("not UTF-8", good, b"\xff\xfe" + body),
        refused("too large", good, b"x" * LARGE, status=413),
    ]


def _another(character: str) -> str:
    return "A" if character != "A" else "B"


TABLE = Table(provider="helpshift", config={"domain": "acme"}, secret=lambda: "", cases=cases, distinct=3)
