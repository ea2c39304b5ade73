"""Freshdesk as its documentation says: tickets and their conversations, tags that are replaced, unsigned webhooks."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_CALLS_PER_MINUTE = 400
_CUSTOMER = 1001
_WORDS = {1: "Low", 2: "Medium", 3: "High", 4: "Urgent"}


def stamp(time: datetime) -> str:
    """Return a time as Freshdesk writes it, in whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class FreshdeskSimulator:
    """One account. `tickets` and `conversations` are by ticket id; its clock goes on by a second with every change.

    `overwritten` are tags that somebody else writes right after our next writing, as if ours had never been.
    """

    domain: str = "acme"
    api_key: str = "freshdesk-api-key"
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    overwritten: list[list[str]] = field(default_factory=list)
    now: datetime = _BEGINNING
    page_size: int = 100
    name: str = "freshdesk"
    calls_left: int = _CALLS_PER_MINUTE

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("GET", "/api/v2/agents/me", lambda _: self._answered({"id": 1, "contact": {"active": True}})),
            Route("GET", "/api/v2/tickets", self._list),
            Route("GET", "/api/v2/tickets/{ticket}", self._ticket),
            Route("PUT", "/api/v2/tickets/{ticket}", self._update),
            Route("GET", "/api/v2/tickets/{ticket}/conversations", self._said),
            Route("POST", "/api/v2/tickets/{ticket}/notes", lambda asked: self._say(asked, private=True)),
            Route("POST", "/api/v2/tickets/{ticket}/reply", lambda asked: self._say(asked, private=False)),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept Basic `api_key:X`."""
        pair = base64.b64encode(f"{self.api_key}:X".encode()).decode()
        return asked.headers.get("authorization") == f"Basic {pair}"

    def sign(self, _body: bytes, secret: str, _at: datetime, _url: str) -> Mapping[str, str]:
        """Send the custom header of the automation rule."""
        return {"content-type": "application/json", "x-webhook-token": secret}

    def webhook(self, ticket: str) -> bytes:
        """Return what the documented template of a rule makes of a ticket."""
        return orjson.dumps(
            {
                "ticket_id": ticket,
                "ticket_url": self._url(ticket),
                "event": "{ticket_action:created}",
                "updated": self.tickets[ticket]["updated_at"],
            }
        )

    def simple(self, ticket: str) -> bytes:
        """Return the simple form of a rule's body, which has no time in it."""
        held = self.tickets[ticket]
        return orjson.dumps(
            {
                "freshdesk_webhook": {
                    "ticket_id": ticket,
                    "ticket_subject": held["subject"],
                    "ticket_status": "Open",
                    "ticket_priority": _WORDS[held["priority"]],
                    "ticket_url": self._url(ticket),
                    "triggered_event": "{ticket_action:created}",
                }
            }
        )

    def _url(self, ticket: str) -> str:
        return f"http://{self.domain}.freshdesk.com/helpdesk/tickets/{ticket}"

    def open_ticket(self, ticket: str, subject: str, text: str, **more: Any) -> None:
        """Have a customer open a ticket by e-mail."""
        time = self._tick()
        self.tickets[ticket] = {
            "id": int(ticket),
            "subject": subject,
            "description": f"<div>{text}</div>",
            "description_text": text,
            "status": 2,
            "priority": 1,
            "source": 1,
            "requester_id": _CUSTOMER,
            "tags": [],
            "spam": False,
            "created_at": time,
            "updated_at": time,
            **more,
        }
        self.conversations[ticket] = []

    def receive(self, ticket: str, text: str) -> None:
        """Have the customer write again."""
        self._keep(ticket, f"<div>{text}</div>", incoming=True, private=False, text=text)

    def change(self, ticket: str, **fields: Any) -> None:
        """Have an agent change fields."""
        self.tickets[ticket] |= fields | {"updated_at": self._tick()}

    def _keep(self, ticket: str, body: str, *, incoming: bool, private: bool, text: str) -> dict[str, Any]:
        time = self._tick()
        made = {
            "id": int(ticket) * 1000 + len(self.conversations[ticket]) + 1,
            "body": body,
            "body_text": text,
            "incoming": incoming,
            "private": private,
            "user_id": _CUSTOMER if incoming else 1,
            "from_email": "anna@example" if incoming else f"help@{self.domain}.freshdesk.com",
            "created_at": time,
            "updated_at": time,
        }
        self.conversations[ticket].append(made)
        self.tickets[ticket]["updated_at"] = time
        return made

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return stamp(self.now)

    def _answered(self, body: object, status: int = 200) -> Answered:
        self.calls_left = max(0, self.calls_left - 1)
        left = {"x-ratelimit-total": str(_CALLS_PER_MINUTE), "x-ratelimit-remaining": str(self.calls_left)}
        return Answered(status, body, left)

    def _page(self, asked: Asked, rows: Sequence[Any]) -> list[Any]:
        size = min(int(asked.query.get("per_page", "30")), self.page_size)
        start = (int(asked.query.get("page", "1")) - 1) * size
        return list(rows[start : start + size])

    def _list(self, asked: Asked) -> Answered:
        """List by `updated_at`; the time itself is included."""
        since = asked.query["updated_since"]
        ordered = sorted(self.tickets.values(), key=lambda ticket: (ticket["updated_at"], ticket["id"]))
        found = [ticket for ticket in ordered if ticket["updated_at"] >= since]
        if "description" not in asked.query.get("include", ""):
            found = [{name: ticket[name] for name in ticket if "description" not in name} for ticket in found]
        return self._answered(self._page(asked, found))

    def _ticket(self, asked: Asked) -> Answered:
        held = self.tickets.get(asked.found["ticket"])
        return Answered(404) if held is None else self._answered(held)

    def _said(self, asked: Asked) -> Answered:
        said = self.conversations.get(asked.found["ticket"])
        return Answered(404) if said is None else self._answered(self._page(asked, said))

    def _update(self, asked: Asked) -> Answered:
        held = self.tickets.get(asked.found["ticket"])
        if held is None:
            return Answered(404)
        self.change(asked.found["ticket"], **asked.json())
        if "tags" in asked.json() and self.overwritten:
            self.change(asked.found["ticket"], tags=self.overwritten.pop(0))
        return self._answered(held)

    def _say(self, asked: Asked, *, private: bool) -> Answered:
        if asked.found["ticket"] not in self.tickets:
            return Answered(404)
        body = asked.json()["body"]
        text = body.replace("<br>", "\n")
        return self._answered(self._keep(asked.found["ticket"], body, incoming=False, private=private, text=text), 201)
