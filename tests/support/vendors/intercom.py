"""Intercom as its documentation says: tickets and conversations with parts, tags by id, search, signed webhooks."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = 1_790_000_000
_CALLS_PER_WINDOW = 167


@dataclass
class IntercomSimulator:
    """One workspace. `tickets` and `conversations` are by id; its clock goes on by a second with every change."""

    app_id: str = "ab12cd34"
    access_token: str = "intercom-access-token"
    admin: Mapping[str, str] = field(
        default_factory=lambda: {"type": "admin", "id": "814860", "name": "Robin", "email": "robin@shop.example"}
    )
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    now: int = _BEGINNING
    page_size: int = 50
    name: str = "intercom"
    calls_left: int = _CALLS_PER_WINDOW

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("GET", "/me", lambda _: self._answered({**self.admin, "app": {"id_code": self.app_id}})),
            Route("POST", "/tags", self._tag),
            Route("POST", "/tickets/search", lambda asked: self._search(asked, "tickets")),
            Route("POST", "/conversations/search", lambda asked: self._search(asked, "conversations")),
            *(
                Route(method, f"/{kind}/{{id}}{rest}", self._about(kind, answer))
                for kind in ("tickets", "conversations")
                for method, rest, answer in (
                    ("GET", "", lambda item, _: item),
                    ("PUT", "", self._update),
                    ("POST", "/reply", self._reply),
                    ("POST", "/tags", self._put_tag),
                )
            ),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept the access token, with the version of the API named."""
        return (
            asked.headers.get("authorization") == f"Bearer {self.access_token}"
            and asked.headers.get("intercom-version") == "2.15"
        )

    def sign(self, body: bytes, secret: str, _at: datetime, _url: str) -> Mapping[str, str]:
        """Sign the body with the app's client secret."""
        proof = hmac.digest(secret.encode(), body, "sha1").hex()
        return {"content-type": "application/json", "x-hub-signature": f"sha1={proof}"}

    def open_ticket(self, ticket: str, subject: str, text: str, **more: Any) -> None:
        """Have a customer open a ticket."""
        time = self._tick()
        self.tickets[ticket] = {
            "type": "ticket",
            "id": ticket,
            "ticket_id": str(1000 + len(self.tickets)),
            "ticket_attributes": {"_default_title_": subject, "_default_description_": text},
            "ticket_state": {"type": "ticket_state", "id": "1", "category": "submitted"},
            "contacts": {"type": "contact.list", "contacts": [_CONTACT]},
            "ticket_parts": {"type": "ticket_part.list", "ticket_parts": [], "total_count": 0},
            "tags": {"type": "tag.list", "tags": []},
            "open": True,
            "created_at": time,
            "updated_at": time,
            **more,
        }

    def open_conversation(self, conversation: str, text: str, **more: Any) -> None:
        """Have a customer begin a conversation."""
        time = self._tick()
        self.conversations[conversation] = {
            "type": "conversation",
            "id": conversation,
            "title": None,
            "state": "open",
            "priority": "not_priority",
            "source": {"type": "conversation", "id": "s-1", "body": f"<p>{text}</p>", "author": _CUSTOMER},
            "contacts": {"type": "contact.list", "contacts": [_CONTACT]},
            "conversation_parts": {"type": "conversation_part.list", "conversation_parts": [], "total_count": 0},
            "tags": {"type": "tag.list", "tags": []},
            "created_at": time,
            "updated_at": time,
            **more,
        }

    def add_part(
        self, kind: str, item: str, text: str, *, part_type: str = "comment", author: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Have somebody say something in a ticket (`tickets`) or a conversation; return the part."""
        held, holder = self._held(kind, item), f"{kind.removesuffix('s')}_parts"
        parts = held[holder][holder]
        part = {
            "type": holder.removesuffix("s"),
            "id": f"{item}{len(parts) + 1:04}",
            "part_type": part_type,
            "body": text,
            "author": author or _CUSTOMER,
            "created_at": self._tick(),
            "redacted": False,
        }
        parts.append(part)
        held["updated_at"] = self.now
        return part

    def change(self, kind: str, item: str, **fields: Any) -> None:
        """Have a teammate change fields."""
        self._held(kind, item).update(fields, updated_at=self._tick())

    def notification(self, topic: str, item: Mapping[str, Any], *, event: str | None, **more: Any) -> bytes:
        """Return the body of a webhook about an object."""
        return orjson.dumps(
            {
                "type": "notification_event",
                "app_id": self.app_id,
                "topic": topic,
                "id": event,
                "created_at": item.get("updated_at", self.now),
                "delivery_attempts": 1,
                "first_sent_at": self.now,
                "data": {"type": "notification_event_data", "item": item},
                **more,
            }
        )

    def _held(self, kind: str, item: str) -> dict[str, Any]:
        return (self.tickets if kind == "tickets" else self.conversations)[item]

    def _tick(self) -> int:
        self.now += 1
        return self.now

    def _answered(self, body: object, status: int = 200) -> Answered:
        self.calls_left = max(0, self.calls_left - 1)
        now = datetime.fromtimestamp(self.now, UTC)
        headers = {
            "date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "x-ratelimit-limit": str(_CALLS_PER_WINDOW),
            "x-ratelimit-remaining": str(self.calls_left),
            "x-ratelimit-reset": str(int((now + timedelta(seconds=10)).timestamp())),
        }
        return Answered(status, body, headers)

    def _about(self, kind: str, answer: Any) -> Any:
        """Return the endpoint that answers about one object, or that there is none."""

        def found(asked: Asked) -> Answered:
            held = self.tickets if kind == "tickets" else self.conversations
            if asked.found["id"] not in held:
                error = {"code": "not_found", "message": "Resource Not Found"}
                return self._answered({"type": "error.list", "errors": [error]}, 404)
            return self._answered(answer(held[asked.found["id"]], asked))

        return found

    def _update(self, item: dict[str, Any], asked: Asked) -> Any:
        item["ticket_attributes"] = item.get("ticket_attributes", {}) | asked.json().get("ticket_attributes", {})
        item["updated_at"] = self._tick()
        return item

    def _reply(self, item: dict[str, Any], asked: Asked) -> Any:
        said = asked.json()
        kind = "tickets" if item["type"] == "ticket" else "conversations"
        assert said["admin_id"] == self.admin["id"]
        return self.add_part(kind, item["id"], said["body"], part_type=said["message_type"], author=self.admin)

    def _tag(self, asked: Asked) -> Answered:
        """Give the tag that has the name, or make it."""
        name = asked.json()["name"]
        number = self.tags.setdefault(name, str(9000 + len(self.tags)))
        return self._answered({"type": "tag", "id": number, "name": name})

    def _put_tag(self, item: dict[str, Any], asked: Asked) -> Any:
        number = asked.json()["id"]
        name = next(name for name, known in self.tags.items() if known == number)
        tags = item["tags"]["tags"]
        if all(tag["id"] != number for tag in tags):
            tags.append({"type": "tag", "id": number, "name": name})
            item["updated_at"] = self._tick()
        return {"type": "tag", "id": number, "name": name}

    def _search(self, asked: Asked, kind: str) -> Answered:
        """List by `updated_at`, without parts; a cursor is the time and id of the last object given out."""
        wanted = asked.json()
        (rule,) = wanted["query"]["value"]
        assert (rule["field"], rule["operator"]) == ("updated_at", ">")
        held = self.tickets if kind == "tickets" else self.conversations
        rows = sorted(
            (item["updated_at"], key) for key, item in held.items() if item["updated_at"] > int(rule["value"])
        )
        if after := wanted["pagination"].get("starting_after"):
            time, _, key = after.partition("|")
            rows = [row for row in rows if row > (int(time), key)]
        size = min(wanted["pagination"]["per_page"], self.page_size)
        page = rows[:size]
        found = [{"type": kind.removesuffix("s"), "id": key, "updated_at": time} for time, key in page]
        pages: dict[str, Any] = {"type": "pages", "per_page": size}
        if len(rows) > size:
            pages["next"] = {"per_page": size, "starting_after": f"{page[-1][0]}|{page[-1][1]}"}
        return self._answered({"type": f"{kind.removesuffix('s')}.list", kind: found, "pages": pages})


_CONTACT = {"type": "contact", "id": "66c1f0a1", "external_id": "customer-7"}
_CUSTOMER = {"type": "user", "id": "66c1f0a1", "name": "Anna", "email": "anna@example.com"}
