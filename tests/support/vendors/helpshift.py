"""Helpshift as its documentation says: issues with their messages, forms, tags that are replaced, unsigned webhooks."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from tests.support.vendors.server import Answered, Asked, Route

_BEGINNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
_CUSTOMER = {"id": "acme_profile_1", "name": "Anna", "emails": ["anna@example"]}
_AGENT = {"id": "acme_profile_2", "name": "Agent", "emails": ["agent@acme.helpshift.example"]}


@dataclass
class HelpshiftSimulator:
    """One domain. `issues` are by id, as the API shows them; its clock goes on by a second with every change."""

    domain: str = "acme"
    api_key: str = "helpshift-api-key"
    issues: dict[str, dict[str, Any]] = field(default_factory=dict)
    overwritten: list[list[str]] = field(default_factory=list)
    now: datetime = _BEGINNING
    page_size: int = 1000
    name: str = "helpshift"

    @property
    def routes(self) -> Sequence[Route]:
        """The endpoints that Rapport calls; all lie below the domain."""
        base = f"/v1/{self.domain}"
        return (
            Route("GET", f"{base}/apps", lambda _: Answered(json={"apps": []})),
            Route("GET", f"{base}/issues", self._list),
            Route("GET", f"{base}/issues/{{issue}}", self._issue),
            Route("PUT", f"{base}/issues/{{issue}}", self._update),
            Route("POST", f"{base}/issues/{{issue}}/messages", self._reply),
            Route("POST", f"{base}/issues/{{issue}}/private-notes", self._note),
        )

    def authorized(self, asked: Asked) -> bool:
        """Accept Basic `api_key:` with no password."""
        pair = base64.b64encode(f"{self.api_key}:".encode()).decode()
        return asked.headers.get("authorization") == f"Basic {pair}"

    def sign(self, _body: bytes, _secret: str, _at: datetime, _url: str) -> Mapping[str, str]:
        """Sign nothing: the address is all there is."""
        return {"content-type": "application/json"}

    def webhook(self, issue: str, event: str = "create_issue") -> bytes:
        """Return the body of an event about an issue as it stands."""
        held = {name: value for name, value in self.issues[issue].items() if name != "private_notes"}
        return orjson.dumps(
            {
                "event_type": event,
                "event_id": str(uuid5(NAMESPACE_URL, f"{issue}/{held['updated_at']}")),
                "event_timestamp": held["updated_at"],
                "domain": self.domain,
                "app_id": f"{self.domain}_app_1",
                "webhook": {"id": f"{self.domain}_webhook_1", "title": "Rapport"},
                "data": held,
            }
        )

    def open_issue(self, issue: str, title: str, text: str, **more: Any) -> None:
        """Have a customer open an issue."""
        time = self._tick()
        self.issues[issue] = {
            "id": int(issue),
            "title": title,
            "author_name": _CUSTOMER["name"],
            "author_email": "anna@example",
            "created_at": time,
            "updated_at": time,
            "domain": self.domain,
            "app_id": f"{self.domain}_app_1",
            "assignee_id": "unassigned",
            "messages": [],
            "private_notes": [],
            "meta": {},
            "tags": [],
            "state_data": {"state": "new", "changed_at": time},
            **more,
        }
        self.receive(issue, text)

    def receive(self, issue: str, text: str) -> None:
        """Have the customer write."""
        self._keep(issue, "messages", {"body": text, "origin": "end-user", "author": _CUSTOMER})

    def change(self, issue: str, **fields: Any) -> None:
        """Have an agent change fields."""
        self.issues[issue] |= fields | {"updated_at": self._tick()}

    def _keep(self, issue: str, where: str, said: Mapping[str, Any]) -> None:
        held, time = self.issues[issue], self._tick()
        held[where].append({"id": f"{self.domain}_{where}_{issue}_{len(held[where])}", "created_at": time, **said})
        held["updated_at"] = time

    def _tick(self) -> int:
        self.now += timedelta(seconds=1)
        return int(self.now.timestamp() * 1000)

    def _shown(self, asked: Asked, issue: Mapping[str, Any]) -> dict[str, Any]:
        included = orjson.loads(asked.query.get("includes", "[]"))
        return {name: value for name, value in issue.items() if name != "private_notes" or name in included}

    def _list(self, asked: Asked) -> Answered:
        """List by `updated_at`; the time itself is included."""
        since = int(asked.query.get("updated_since", "0"))
        ordered = sorted(self.issues.values(), key=lambda issue: (issue["updated_at"], issue["id"]))
        found = [issue for issue in ordered if issue["updated_at"] >= since]
        size, page = min(int(asked.query.get("page-size", "100")), self.page_size), int(asked.query.get("page", "1"))
        listed = [self._shown(asked, issue) for issue in found[(page - 1) * size : page * size]]
        pages = -(-len(found) // size)
        sizes = {"page": page, "page-size": size, "total-hits": len(found), "total-pages": pages}
        return Answered(json=sizes | {"issues": listed})

    def _issue(self, asked: Asked) -> Answered:
        held = self.issues.get(asked.found["issue"])
        listed = [] if held is None else [self._shown(asked, held)]
        return Answered(json={"page": 1, "page-size": 100, "total-hits": len(listed), "issues": listed})

    def _update(self, asked: Asked) -> Answered:
        if asked.found["issue"] not in self.issues:
            return Answered(404, {"error": "not found"})
        self.change(asked.found["issue"], tags=orjson.loads(asked.form()["tags"]))
        if self.overwritten:
            self.change(asked.found["issue"], tags=self.overwritten.pop(0))
        return Answered(json={"updated": True})

    def _reply(self, asked: Asked) -> Answered:
        form = asked.form()
        if asked.found["issue"] not in self.issues or form["message-type"] != "Text":
            return Answered(404, {"error": "not found"})
        said = {"body": form["message-body"], "origin": "helpshift", "author": _AGENT}
        self._keep(asked.found["issue"], "messages", said)
        return Answered(201, {"created": True})

    def _note(self, asked: Asked) -> Answered:
        if asked.found["issue"] not in self.issues:
            return Answered(404, {"error": "not found"})
        self._keep(asked.found["issue"], "private_notes", {"body": asked.form()["body"], "author": _AGENT})
        return Answered(201, {"created": True})
