"""Zendesk Support as its documentation says: tickets with comments and tags, incremental export, signed webhooks."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_CALLS_PER_MINUTE = 400


def stamp(time: datetime) -> str:
    """Return a time as Zendesk writes it, in whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ZendeskSimulator:
    """One account. `tickets` and `comments` are by ticket id; its clock goes on by a second with every change."""

    account_id: int = 777
    email: str = "agent@shop.example"
    api_token: str = "zendesk-api-token"
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    users: dict[int, dict[str, Any]] = field(default_factory=dict)
    now: datetime = _BEGINNING
    page_size: int = 100
    name: str = "zendesk"
    calls_left: int = _CALLS_PER_MINUTE

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("GET", "/api/v2/users/me.json", self._me),
            Route("GET", "/api/v2/account/settings.json", lambda _: Answered(json={"settings": {}})),
            Route("GET", "/api/v2/incremental/tickets/cursor.json", self._incremental),
            Route("GET", "/api/v2/tickets/{ticket}.json", self._ticket),
            Route("PUT", "/api/v2/tickets/{ticket}.json", self._update),
            Route("GET", "/api/v2/tickets/{ticket}/comments.json", self._comments),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept Basic `email/token:api_token`."""
        pair = base64.b64encode(f"{self.email}/token:{self.api_token}".encode()).decode()
        return asked.headers.get("authorization") == f"Basic {pair}"

    def sign(self, body: bytes, secret: str, at: datetime, _url: str) -> Mapping[str, str]:
        """Sign `timestamp + body` as a webhook invocation."""
        timestamp = stamp(at)
        proof = hmac.digest(secret.encode(), timestamp.encode() + body, "sha256")
        return {
            "content-type": "application/json",
            "x-zendesk-account-id": str(self.account_id),
            "x-zendesk-webhook-id": "01HSIMULATED",
            "x-zendesk-webhook-invocation-id": hmac.digest(b"invocation", body, "sha256").hex()[:26].upper(),
            "x-zendesk-webhook-signature": base64.b64encode(proof).decode(),
            "x-zendesk-webhook-signature-timestamp": timestamp,
        }

    def open_ticket(self, ticket: str, subject: str, text: str, *, requester: int = 8447388090494, **more: Any) -> None:
        """Have a customer open a ticket."""
        time = self._tick()
        self.users.setdefault(requester, {"id": requester, "name": "Anna", "email": "anna@example", "role": "end-user"})
        self.tickets[ticket] = {
            "id": int(ticket),
            "subject": subject,
            "description": text,
            "status": "new",
            "priority": None,
            "requester_id": requester,
            "submitter_id": requester,
            "tags": [],
            "via": {"channel": "email"},
            "created_at": time,
            "updated_at": time,
            **more,
        }
        self.comments[ticket] = [self._comment(ticket, text, requester, public=True, time=time)]

    def add_comment(self, ticket: str, text: str, author: int, *, public: bool = True) -> None:
        """Have somebody comment."""
        time = self._tick()
        self.comments[ticket].append(self._comment(ticket, text, author, public=public, time=time))
        self.tickets[ticket]["updated_at"] = time

    def change(self, ticket: str, **fields: Any) -> None:
        """Have an agent change fields."""
        self.tickets[ticket] |= fields | {"updated_at": self._tick()}

    def event(self, ticket: str, change: str = "created", *, event_id: str, happened: object = None) -> bytes:
        """Return the body of a `ticket.<change>` event about the ticket as it stands."""
        held = self.tickets[ticket]
        texts = {name: str(held[name]) for name in ("id", "requester_id", "submitter_id")}
        detail = held | texts | {"status": held["status"].upper(), "is_public": True}
        detail["priority"] = (held["priority"] or "").upper() or None
        return orjson.dumps(
            {
                "type": f"zen:event-type:ticket.{change}",
                "account_id": self.account_id,
                "id": event_id,
                "time": held["updated_at"],
                "zendesk_event_version": "2022-11-06",
                "subject": f"zen:ticket:{ticket}",
                "detail": detail,
                "event": happened or {},
            }
        )

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return stamp(self.now)

    def _comment(self, ticket: str, text: str, author: int, *, public: bool, time: str) -> dict[str, Any]:
        number = int(ticket) * 1000 + len(self.comments.get(ticket, ())) + 1
        return {
            "id": number,
            "type": "Comment",
            "author_id": author,
            "body": text,
            "plain_body": text,
            "public": public,
            "created_at": time,
        }

    def _answered(self, body: object, status: int = 200) -> Answered:
        self.calls_left = max(0, self.calls_left - 1)
        left = {"x-rate-limit": str(_CALLS_PER_MINUTE), "x-rate-limit-remaining": str(self.calls_left)}
        return Answered(status, body, left | {"ratelimit-reset": "30"})

    def _missing(self) -> Answered:
        return self._answered({"error": "RecordNotFound", "description": "Not found"}, 404)

    def _me(self, _asked: Asked) -> Answered:
        return self._answered({"user": {"id": 1, "email": self.email, "role": "admin", "active": True}})

    def _ticket(self, asked: Asked) -> Answered:
        ticket = self.tickets.get(asked.found["ticket"])
        return self._missing() if ticket is None else self._answered({"ticket": ticket})

    def _comments(self, asked: Asked) -> Answered:
        comments = self.comments.get(asked.found["ticket"])
        if comments is None:
            return self._missing()
        if asked.query.get("sort") == "-created_at":
            comments = comments[::-1]
        size, start = int(asked.query.get("page[size]", "100")), int(asked.query.get("page[after]", "0"))
        end = start + min(size, self.page_size)
        page: dict[str, Any] = {"comments": comments[start:end]}
        page["meta"] = {"has_more": end < len(comments), "after_cursor": str(end)}
        if asked.query.get("include") == "users":
            page["users"] = list(self.users.values())
        return self._answered(page)

    def _update(self, asked: Asked) -> Answered:
        held = self.tickets.get(asked.found["ticket"])
        if held is None:
            return self._missing()
        wanted = asked.json()["ticket"]
        if wanted.get("safe_update") and wanted.get("updated_stamp") != held["updated_at"]:
            return self._answered({"error": "UpdateConflict", "description": "Safe Update prevented the update"}, 409)
        self.change(asked.found["ticket"], **{name: wanted[name] for name in ("priority", "tags") if name in wanted})
        if comment := wanted.get("comment"):
            self.users.setdefault(1, {"id": 1, "name": "Agent", "email": self.email, "role": "admin"})
            made = self._comment(
                asked.found["ticket"], comment["body"], 1, public=comment["public"], time=held["updated_at"]
            )
            self.comments[asked.found["ticket"]].append(made)
        return self._answered({"ticket": held})

    def _incremental(self, asked: Asked) -> Answered:
        """List by `updated_at`; a cursor is the time and id of the last ticket given out."""
        ordered = sorted(self.tickets.values(), key=lambda ticket: (ticket["updated_at"], ticket["id"]))
        if cursor := asked.query.get("cursor"):
            time, _, number = base64.b64decode(cursor).decode().partition("|")
            left = [ticket for ticket in ordered if (ticket["updated_at"], ticket["id"]) > (time, int(number))]
        else:
            start = datetime.fromtimestamp(int(asked.query["start_time"]), UTC)
            if start > self.now:
                return self._answered({"error": "StartTimeTooRecent", "description": "Too recent start_time."}, 422)
            since = stamp(start)
            left = [ticket for ticket in ordered if ticket["updated_at"] >= since]
        page = left[: min(int(asked.query.get("per_page", "1000")), self.page_size)]
        last = base64.b64encode(f"{page[-1]['updated_at']}|{page[-1]['id']}".encode()).decode() if page else cursor
        return self._answered({"tickets": page, "after_cursor": last, "end_of_stream": len(page) == len(left)})
