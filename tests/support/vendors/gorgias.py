"""Gorgias as its documentation says: tickets with their messages in them, tags that are added, unsigned webhooks."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
_BUCKET = 40
_SHOP = "help@acme.example"
_CUSTOMER = {"id": 9001, "email": "anna@example", "name": "Anna"}


def stamp(time: datetime) -> str:
    """Return a time as Gorgias writes it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass
class GorgiasSimulator:
    """One account. `tickets` are by id, as the API shows them; its clock goes on by a second with every change.

    `urgent` is its word for the highest priority, `none_left` makes every answer say that the bucket is full.
    """

    domain: str = "acme"
    email: str = "agent@acme.example"
    api_key: str = "gorgias-api-key"
    client_id: str = "gorgias-client"
    client_secret: str = "gorgias-client-secret"
    refresh_token: str = "gorgias-refresh-token"
    access_tokens: list[str] = field(default_factory=list)
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    urgent: str = "critical"
    now: datetime = _BEGINNING
    page_size: int = 100
    used: int = 0
    name: str = "gorgias"

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("POST", "/oauth/token", self._token),
            Route("GET", "/api/account", lambda _: self._answered({"domain": self.domain})),
            Route("GET", "/api/tickets", self._list),
            Route("GET", "/api/tickets/{ticket}", self._ticket),
            Route("PUT", "/api/tickets/{ticket}", self._update),
            Route("POST", "/api/tickets/{ticket}/tags", self._tag),
            Route("POST", "/api/tickets/{ticket}/messages", self._say),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept Basic `email:api_key` and the newest access token; at the token endpoint the app's own pair."""
        given = asked.headers.get("authorization")
        if asked.path == "/oauth/token":
            return given == _basic(self.client_id, self.client_secret)
        return given in (_basic(self.email, self.api_key), *(f"Bearer {each}" for each in self.access_tokens[-1:]))

    def sign(self, _body: bytes, secret: str, _at: datetime, _url: str) -> Mapping[str, str]:
        """Send the header that the integration was set up with."""
        return {"content-type": "application/json", "x-webhook-token": secret}

    def webhook(self, ticket: str, event: str = "ticket-created") -> bytes:
        """Return what the documented template makes of a ticket."""
        held = self.tickets[ticket]
        last = held["messages"][-1]["id"] if held["messages"] else ""
        return orjson.dumps(
            {
                "schema": "gorgias.v1",
                "account": self.domain,
                "event": event,
                "ticket_id": ticket,
                "message_id": str(last),
                "updated": held["updated_datetime"],
            }
        )

    def open_ticket(self, ticket: str, subject: str, text: str, **more: Any) -> None:
        """Have a customer open a ticket by e-mail."""
        time = self._tick()
        self.tickets[ticket] = {
            "id": int(ticket),
            "uri": f"/api/tickets/{ticket}/",
            "status": "open",
            "priority": "normal",
            "channel": "email",
            "via": "email",
            "subject": subject,
            "customer": _CUSTOMER,
            "tags": [],
            "messages": [],
            "spam": False,
            "created_datetime": time,
            "updated_datetime": time,
            **more,
        }
        self.receive(ticket, text)

    def receive(self, ticket: str, text: str) -> None:
        """Have the customer write an e-mail."""
        source = {"type": "email", "from": {"address": _CUSTOMER["email"]}, "to": [{"address": _SHOP}]}
        said = {"channel": "email", "from_agent": False, "sender": _CUSTOMER, "body_text": text, "source": source}
        self._keep(ticket, said)

    def change(self, ticket: str, **fields: Any) -> None:
        """Have an agent change fields."""
        self.tickets[ticket] |= fields | {"updated_datetime": self._tick()}

    def _keep(self, ticket: str, said: Mapping[str, Any]) -> dict[str, Any]:
        held = self.tickets[ticket]
        number = int(ticket) * 1000 + len(held["messages"]) + 1
        made = {"external_id": None, **said, "id": number, "created_datetime": self._tick()}
        made["public"] = made["channel"] != "internal-note"
        held["messages"].append(made)
        held["updated_datetime"] = made["created_datetime"]
        return made

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return stamp(self.now)

    def _answered(self, body: object, status: int = 200) -> Answered:
        return Answered(status, body, {"x-gorgias-account-api-call-limit": f"{self.used}/{_BUCKET}"})

    def _held(self, asked: Asked) -> dict[str, Any] | None:
        return self.tickets.get(asked.found["ticket"])

    def _missing(self) -> Answered:
        return self._answered({"error": {"msg": "Not found", "data": {}}}, 404)

    def _token(self, asked: Asked) -> Answered:
        form = asked.form()
        if form != {"grant_type": "refresh_token", "refresh_token": self.refresh_token}:
            return Answered(400, {"error": "invalid_grant"})
        self.access_tokens.append(secrets.token_hex(16))
        answer = {"access_token": self.access_tokens[-1], "refresh_token": self.refresh_token, "expires_in": 86_400}
        return Answered(200, answer)

    def _list(self, asked: Asked) -> Answered:
        """List by time, newest first; tickets in a list have no messages. A cursor is the last one given out."""
        ordered = sorted(self.tickets.values(), key=_order, reverse=True)
        if cursor := asked.query.get("cursor"):
            time, _, number = base64.urlsafe_b64decode(cursor).decode().partition("|")
            ordered = [each for each in ordered if _order(each) < (time, int(number))]
        size = min(int(asked.query.get("limit", "30")), self.page_size)
        page = [{name: value for name, value in each.items() if name != "messages"} for each in ordered[:size]]
        last = "|".join(map(str, _order(page[-1]))) if len(page) < len(ordered) else ""
        following = base64.urlsafe_b64encode(last.encode()).decode() or None
        return self._answered({"object": "list", "data": page, "meta": {"next_cursor": following, "prev_cursor": None}})

    def _ticket(self, asked: Asked) -> Answered:
        held = self._held(asked)
        return self._missing() if held is None else self._answered(held)

    def _update(self, asked: Asked) -> Answered:
        held = self._held(asked)
        if held is None:
            return self._missing()
        wanted = asked.json()
        if wanted.get("priority", "low") not in {"low", "normal", "high", self.urgent}:
            return self._answered({"error": {"msg": "Invalid", "data": {"priority": ["Not a valid choice."]}}}, 400)
        self.change(asked.found["ticket"], **wanted)
        return self._answered(held, 202)

    def _tag(self, asked: Asked) -> Answered:
        held = self._held(asked)
        if held is None:
            return self._missing()
        names = dict.fromkeys([*(tag["name"] for tag in held["tags"]), *asked.json()["names"]])
        tags = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
        self.change(asked.found["ticket"], tags=tags)
        return self._answered(None, 204)

    def _say(self, asked: Asked) -> Answered:
        if self._held(asked) is None:
            return self._missing()
        return self._answered(self._keep(asked.found["ticket"], asked.json()), 201)


def _order(ticket: Mapping[str, Any]) -> tuple[str, int]:
    return (ticket["updated_datetime"], ticket["id"])


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
