"""HubSpot as its documentation says: tickets with associated notes and e-mails, search, OAuth, signed webhooks."""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_CALLS_PER_WINDOW = 100


def milliseconds(time: datetime) -> str:
    """Return a time as HubSpot signs it."""
    return str(int(time.timestamp() * 1000))


@dataclass
class HubSpotSimulator:
    """One portal. Objects are by id, with their properties; its clock goes on by a second with every change."""

    portal_id: int = 62515
    client_id: str = "hubspot-client-id"
    client_secret: str = "hubspot-client-secret"
    private_app_token: str = "pat-private-app-token"
    refresh_token: str = "hubspot-refresh-token"
    access_tokens: list[str] = field(default_factory=list)
    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {"notes": {}, "emails": {}})
    belongs: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    closed_stages: set[str] = field(default_factory=set)
    now: datetime = _BEGINNING
    page_size: int = 200
    associations_shown: int = 100
    name: str = "hubspot"
    calls_left: int = _CALLS_PER_WINDOW

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls."""
        return (
            Route("POST", "/oauth/v1/token", self._token),
            Route("GET", "/account-info/v3/details", lambda _: self._answered({"portalId": self.portal_id})),
            Route("POST", "/crm/v3/objects/tickets/search", self._search),
            Route("GET", "/crm/v3/objects/tickets/{ticket}", self._ticket),
            Route("GET", "/crm/v4/objects/tickets/{ticket}/associations/{kind}", self._associations),
            Route("PATCH", "/crm/v3/objects/tickets/{ticket}", self._update),
            Route("POST", "/crm/v3/objects/notes", self._note),
            Route("POST", "/crm/v3/objects/{kind}/batch/read", self._batch),
            Route("GET", "/crm/v3/pipelines/tickets/{pipeline}/stages/{stage}", self._stage),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept the private app's token and the access tokens that were given out; a token is asked for without."""
        known = [f"Bearer {token}" for token in (self.private_app_token, *self.access_tokens[-1:])]
        return asked.path == "/oauth/v1/token" or asked.headers.get("authorization") in known

    def sign(self, body: bytes, secret: str, at: datetime, url: str) -> Mapping[str, str]:
        """Sign with version 3; an address with escapes is not made by Rapport."""
        timestamp = milliseconds(at)
        proof = hmac.digest(secret.encode(), b"POST" + url.encode() + body + timestamp.encode(), "sha256")
        return {
            "content-type": "application/json",
            "x-hubspot-signature-v3": base64.b64encode(proof).decode(),
            "x-hubspot-request-timestamp": timestamp,
        }

    def sign_by_hash(self, body: bytes, secret: str, url: str, version: str) -> Mapping[str, str]:
        """Sign with version 1 or 2."""
        lead = f"{secret}POST{url}" if version == "v2" else secret
        return {
            "content-type": "application/json",
            "x-hubspot-signature": sha256(lead.encode() + body).hexdigest(),
            "x-hubspot-signature-version": version,
        }

    def open_ticket(self, ticket: str, subject: str, text: str, *, contact: str = "4501", **more: Any) -> None:
        """Have a customer open a ticket."""
        time = self._tick()
        self.tickets[ticket] = {
            "subject": subject,
            "content": text,
            "hs_ticket_priority": None,
            "hs_pipeline": "0",
            "hs_pipeline_stage": "1",
            "source_type": "EMAIL",
            "createdate": time,
            "hs_lastmodifieddate": time,
            **more,
        }
        self.belongs[ticket] = {"contacts": [contact], "notes": [], "emails": []}

    def add_email(self, ticket: str, text: str, *, incoming: bool = True) -> str:
        """Have an e-mail come or go; return its id."""
        time = self._tick()
        properties = {
            "hs_email_text": text,
            "hs_email_direction": "INCOMING_EMAIL" if incoming else "EMAIL",
            "hs_email_from_email": "anna@example.com" if incoming else "robin@shop.example",
            "hs_timestamp": time,
        }
        return self._belonging("emails", ticket, properties, time)

    def add_note(self, ticket: str, text: str) -> str:
        """Have an agent write a note; return its id."""
        time = self._tick()
        return self._belonging("notes", ticket, {"hs_note_body": text, "hs_timestamp": time}, time)

    def change(self, ticket: str, **properties: Any) -> None:
        """Have an agent change properties."""
        self.tickets[ticket] |= properties | {"hs_lastmodifieddate": self._tick()}

    def event(self, ticket: str, kind: str = "creation", *, event_id: int = 1, **more: Any) -> dict[str, Any]:
        """Return an event about a ticket, to stand in a webhook's list."""
        return {
            "eventId": event_id,
            "subscriptionId": 12345,
            "portalId": self.portal_id,
            "appId": 54321,
            "occurredAt": int(self.now.timestamp() * 1000),
            "subscriptionType": f"ticket.{kind}",
            "attemptNumber": 0,
            "objectId": int(ticket),
            "changeSource": "CRM",
            **more,
        }

    def _tick(self) -> str:
        self.now += timedelta(seconds=1)
        return self.now.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def _belonging(self, kind: str, ticket: str, properties: dict[str, Any], time: str) -> str:
        number = str(7000 + sum(len(held) for held in self.objects.values()))
        self.objects[kind][number] = properties
        self.belongs[ticket][kind].append(number)
        self.tickets[ticket]["hs_lastmodifieddate"] = time
        return number

    def _answered(self, body: object, status: int = 200) -> Answered:
        self.calls_left = max(0, self.calls_left - 1)
        headers = {
            "date": self.now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "x-hubspot-ratelimit-max": str(_CALLS_PER_WINDOW),
            "x-hubspot-ratelimit-remaining": str(self.calls_left),
            "x-hubspot-ratelimit-interval-milliseconds": "10000",
        }
        return Answered(status, body, headers)

    def _missing(self) -> Answered:
        return self._answered({"status": "error", "category": "OBJECT_NOT_FOUND"}, 404)

    def _token(self, asked: Asked) -> Answered:
        form = asked.form()
        expected = ("refresh_token", self.client_id, self.client_secret, self.refresh_token)
        if tuple(form.get(name) for name in ("grant_type", "client_id", "client_secret", "refresh_token")) != expected:
            return self._answered({"status": "BAD_REFRESH_TOKEN"}, 400)
        self.access_tokens.append(f"hubspot-access-token-{len(self.access_tokens) + 1}")
        given = {"access_token": self.access_tokens[-1], "refresh_token": self.refresh_token, "expires_in": 1800}
        return self._answered(given)

    def _shown(self, ticket: str, properties: Sequence[str]) -> dict[str, Any]:
        held = self.tickets[ticket]
        shown = {name: held.get(name) for name in properties}
        return {"id": ticket, "properties": shown, "updatedAt": held["hs_lastmodifieddate"], "archived": False}

    def _ticket(self, asked: Asked) -> Answered:
        ticket = asked.found["ticket"]
        if ticket not in self.tickets:
            return self._missing()
        shown = self._shown(ticket, asked.query["properties"].split(","))
        belongs = {kind: self.belongs[ticket][kind] for kind in asked.query["associations"].split(",")}
        shown["associations"] = {}
        for kind, ids in belongs.items():
            if ids:
                first = [{"id": each, "type": f"ticket_to_{kind}"} for each in ids[: self.associations_shown]]
                shown["associations"][kind] = {"results": first} | _paging(ids, self.associations_shown)
        return self._answered(shown)

    def _associations(self, asked: Asked) -> Answered:
        """List what belongs to a ticket; `after` is a place in the list."""
        ticket = asked.found["ticket"]
        if ticket not in self.tickets:
            return self._missing()
        ids, start = self.belongs[ticket][asked.found["kind"]], int(asked.query.get("after", "0"))
        end = start + min(int(asked.query["limit"]), 500)
        types = [{"category": "HUBSPOT_DEFINED", "typeId": 227, "label": None}]
        page = [{"toObjectId": int(each), "associationTypes": types} for each in ids[start:end]]
        return self._answered({"results": page} | _paging(ids, end))

    def _update(self, asked: Asked) -> Answered:
        ticket = asked.found["ticket"]
        if ticket not in self.tickets:
            return self._missing()
        self.change(ticket, **asked.json()["properties"])
        return self._answered(self._shown(ticket, ("hs_ticket_priority",)))

    def _note(self, asked: Asked) -> Answered:
        wanted = asked.json()
        (association,) = wanted["associations"]
        ticket = association["to"]["id"]
        kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 228}
        if ticket not in self.tickets or association["types"] != [kind] or not wanted["properties"].get("hs_timestamp"):
            return self._answered({"status": "error", "category": "VALIDATION_ERROR"}, 400)
        number = self._belonging("notes", ticket, wanted["properties"], self._tick())
        return self._answered({"id": number, "properties": wanted["properties"]}, 201)

    def _batch(self, asked: Asked) -> Answered:
        held, wanted = self.objects[asked.found["kind"]], asked.json()
        found = [
            {"id": each["id"], "properties": {name: held[each["id"]].get(name) for name in wanted["properties"]}}
            for each in wanted["inputs"]
            if each["id"] in held
        ]
        return self._answered(
            {"status": "COMPLETE", "results": found}, 200 if len(found) == len(wanted["inputs"]) else 207
        )

    def _stage(self, asked: Asked) -> Answered:
        state = "CLOSED" if asked.found["stage"] in self.closed_stages else "OPEN"
        return self._answered({"id": asked.found["stage"], "metadata": {"ticketState": state, "isClosed": "false"}})

    def _search(self, asked: Asked) -> Answered:
        """List by the time of the last change; `after` is a place in the list, as it is now."""
        wanted = asked.json()
        ((rule,),) = [group["filters"] for group in wanted["filterGroups"]]
        assert (rule["propertyName"], rule["operator"]) == ("hs_lastmodifieddate", "GTE")
        times = {
            ticket: int(datetime.fromisoformat(held["hs_lastmodifieddate"]).timestamp() * 1000)
            for ticket, held in self.tickets.items()
        }
        rows = sorted((time, ticket) for ticket, time in times.items() if time >= int(rule["value"]))
        start = int(wanted.get("after", "0"))
        end = start + min(wanted["limit"], self.page_size)
        results = [self._shown(ticket, wanted["properties"]) for _, ticket in rows[start:end]]
        answer: dict[str, Any] = {"total": len(rows), "results": results}
        if end < len(rows):
            answer["paging"] = {"next": {"after": str(end)}}
        return self._answered(answer)


def _paging(rows: Sequence[object], end: int) -> dict[str, Any]:
    """Return what tells that there is more than what a page ends with."""
    return {"paging": {"next": {"after": str(end)}}} if end < len(rows) else {}


def batch(*events: Mapping[str, Any]) -> bytes:
    """Return the body of a webhook with these events."""
    return orjson.dumps(events)
