"""Help Scout as its documentation says: conversations with threads, tags that are replaced, OAuth, signed webhooks."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_CALLS_PER_MINUTE = 200


def stamp(time: datetime) -> str:
    """Return a time as Help Scout writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class HelpScoutSimulator:
    """One company. `conversations` are by id, as the API shows them; a change takes a second of its clock."""

    company_id: int = 4711
    app_id: str = "helpscoutapp"
    app_secret: str = "helpscout-app-secret"
    refresh_token: str = ""
    access_tokens: list[str] = field(default_factory=list)
    conversations: dict[str, dict[str, Any]] = field(default_factory=dict)
    modified: dict[str, str] = field(default_factory=dict)
    now: datetime = _BEGINNING
    page_size: int = 25
    name: str = "helpscout"
    calls_left: int = _CALLS_PER_MINUTE

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls; all lie below the API's version."""
        return (
            Route("POST", "/v2/oauth2/token", self._token),
            Route("GET", "/v2/users/me", lambda _: self._answered({"id": 1, "companyId": self.company_id})),
            Route("GET", "/v2/conversations", self._list),
            Route("GET", "/v2/conversations/{id}", self._conversation),
            Route("PUT", "/v2/conversations/{id}/tags", self._tags),
            Route("POST", "/v2/conversations/{id}/notes", lambda asked: self._say(asked, "note")),
            Route("POST", "/v2/conversations/{id}/reply", lambda asked: self._say(asked, "message")),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept the newest access token; a token is asked for without."""
        known = [f"Bearer {token}" for token in self.access_tokens[-1:]]
        return asked.path == "/v2/oauth2/token" or asked.headers.get("authorization") in known

    def sign(self, body: bytes, secret: str, _at: datetime, _url: str) -> Mapping[str, str]:
        """Sign the body; the event's name is not signed."""
        proof = base64.b64encode(hmac.digest(secret.encode(), body, "sha1")).decode()
        return {
            "content-type": "application/json",
            "x-helpscout-event": "convo.created",
            "x-helpscout-signature": proof,
        }

    def open_conversation(self, number: str, subject: str, text: str, **more: Any) -> None:
        """Have a customer begin a conversation."""
        time = self._tick()
        self.conversations[number] = {
            "id": int(number),
            "number": 1,
            "type": "email",
            "status": "active",
            "state": "published",
            "subject": subject,
            "mailboxId": 1234,
            "tags": [],
            "primaryCustomer": _CUSTOMER,
            "createdAt": time,
            "userUpdatedAt": time,
            "_embedded": {"threads": []},
            **more,
        }
        self.add_thread(number, text)

    def add_thread(self, number: str, text: str, *, kind: str = "customer") -> None:
        """Have somebody write: the customer, or an agent (`message`, `note`)."""
        time = self._tick()
        author = _CUSTOMER | {"type": "customer"} if kind == "customer" else _AGENT
        threads = self.conversations[number]["_embedded"]["threads"]
        thread = {
            "id": int(number) * 1000 + len(threads) + 1,
            "type": kind,
            "state": "published",
            "body": text,
            "createdBy": author,
            "createdAt": time,
        }
        threads.insert(0, thread)
        self.conversations[number]["userUpdatedAt"] = self.modified[number] = time

    def change(self, number: str, **fields: Any) -> None:
        """Have an agent change fields."""
        time = self._tick()
        self.conversations[number] |= fields | {"userUpdatedAt": time}
        self.modified[number] = time

    def webhook(self, number: str) -> bytes:
        """Return the body of a webhook about the conversation as it stands."""
        return orjson.dumps(self.conversations[number])

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return stamp(self.now)

    def _answered(self, body: object, status: int = 200, *, cost: int = 1) -> Answered:
        self.calls_left = max(0, self.calls_left - cost)
        headers = {
            "date": self.now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "x-ratelimit-limit-minute": str(_CALLS_PER_MINUTE),
            "x-ratelimit-remaining-minute": str(self.calls_left),
        }
        return Answered(status, body, headers)

    def _missing(self) -> Answered:
        return self._answered({"logRef": "simulated", "message": "Not Found"}, 404)

    def _token(self, asked: Asked) -> Answered:
        """Give a token to the app itself, or for a refresh token, which is good for one use."""
        form = asked.form()
        if (form.get("client_id"), form.get("client_secret")) != (self.app_id, self.app_secret):
            return self._answered({"error": "invalid_client"}, 401)
        given: dict[str, Any] = {"token_type": "bearer", "expires_in": 172800}
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != self.refresh_token:
                return self._answered({"error": "invalid_grant"}, 400)
            self.refresh_token = f"helpscout-refresh-token-{len(self.access_tokens) + 1}"
            given["refresh_token"] = self.refresh_token
        self.access_tokens.append(f"helpscout-access-token-{len(self.access_tokens) + 1}")
        return self._answered(given | {"access_token": self.access_tokens[-1]})

    def _conversation(self, asked: Asked) -> Answered:
        held = self.conversations.get(asked.found["id"])
        return self._missing() if held is None else self._answered(held)

    def _list(self, asked: Asked) -> Answered:
        query = asked.query
        assert (query["status"], query["sortField"], query["sortOrder"]) == ("all", "modifiedAt", "asc")
        rows = sorted((time, number) for number, time in self.modified.items() if time >= query["modifiedSince"])
        page = int(query["page"])
        shown = rows[(page - 1) * self.page_size : page * self.page_size]
        pages = -(-len(rows) // self.page_size)
        answer = {
            "_embedded": {"conversations": [self.conversations[number] for _, number in shown]},
            "page": {"size": self.page_size, "totalElements": len(rows), "totalPages": pages, "number": page},
        }
        return self._answered(answer)

    def _tags(self, asked: Asked) -> Answered:
        if asked.found["id"] not in self.conversations:
            return self._missing()
        tags = [{"id": at, "color": "none", "tag": name} for at, name in enumerate(asked.json()["tags"])]
        self.change(asked.found["id"], tags=tags)
        return self._answered(None, 204, cost=2)

    def _say(self, asked: Asked, kind: str) -> Answered:
        if asked.found["id"] not in self.conversations:
            return self._missing()
        if kind == "message" and asked.json()["customer"]["id"] != _CUSTOMER["id"]:
            return self._answered({"message": "Bad request"}, 400)
        self.add_thread(asked.found["id"], asked.json()["text"], kind=kind)
        return self._answered(None, 201, cost=2)


_CUSTOMER: dict[str, Any] = {"id": 256, "first": "Anna", "last": "Berg", "email": "anna@example.com"}
_AGENT: dict[str, Any] = {"id": 4, "type": "user", "first": "Robin", "last": "", "email": "robin@shop.example"}
