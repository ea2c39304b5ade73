"""Carries out the steps of an API half against a simulated vendor, without a network between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import orjson

from services.crm.providers.api import Api, ApiError, Call, Reply, Steps
from tests.support.vendors.server import Answered, Asked, Vendor

Result = TypeVar("Result")


@dataclass
class Stepping:
    """A connection to a simulated vendor. `calls` are those that were sent.

    `lost` names how many of the next calls that change something are done by the vendor, but end the steps as if the
    process had died before it read the answer. `before` is called before each call: what happens meanwhile.
    """

    vendor: Vendor
    api: Api
    config: Mapping[str, str] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    lost: int = 0
    before: Callable[[Call], None] = lambda _: None

    def run(self, steps: Steps[Result]) -> Result:
        """Carry out steps, logged in, and return what they end with.

        Raises:
            ApiError: the steps end with one, or the vendor answered with a status that they do not expect.
            ConnectionError: the answer to a change was lost.
        """
        return self._walk(steps, self.api.authorization(self.config, self.credentials))

    def renew(self) -> None:
        """Get new credentials and log in with them from now on."""
        steps = self.api.renew(self.config, self.credentials)
        assert steps is not None
        self.credentials |= self._walk(steps, {}).secrets

    def written(self) -> list[Call]:
        """Return the calls that were to change something."""
        return [call for call in self.calls if _changes(call)]

    def _walk(self, steps: Steps[Result], headers: Mapping[str, str]) -> Result:
        reply: Reply | None = None
        while True:
            try:
                call = next(steps) if reply is None else steps.send(reply)
            except StopIteration as end:
                result: Result = end.value
                return result
            self.before(call)
            self.calls.append(call)
            reply = self._answered(call, headers)
            if self.lost and _changes(call):
                self.lost -= 1
                raise ConnectionError
            if not 200 <= reply.status < 300 and reply.status not in call.expects:
                raise ApiError("CALL_REFUSED", f"{reply.status}")

    def _answered(self, call: Call, headers: Mapping[str, str]) -> Reply:
        base = urlsplit(self.api.origin(self.config)).path
        body = orjson.dumps(call.json) if call.json is not None else urlencode(call.form).encode()
        asked = Asked(
            self.vendor.name, call.method, base + call.path, dict(call.query), {**headers, **call.headers}, body
        )
        answer = self._from_vendor(asked)
        return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, _body(answer))

    def _from_vendor(self, asked: Asked) -> Answered:
        if not self.vendor.authorized(asked):
            return Answered(401, {"error": "unauthorized"})
        for route in self.vendor.routes:
            if (found := route.match(asked)) is not None:
                return route.answer(
                    Asked(asked.vendor, asked.method, asked.path, asked.query, asked.headers, asked.body, found)
                )
        return Answered(404, {"error": "no such endpoint"})


def _body(answer: Answered) -> bytes:
    return answer.body if answer.body is not None else b"" if answer.json is None else orjson.dumps(answer.json)


def _changes(call: Call) -> bool:
    """Return whether a call is to change something: searches and reads in batches are POSTs that do not."""
    return call.method != "GET" and not call.path.endswith(("/search", "/batch/read", "/token"))
