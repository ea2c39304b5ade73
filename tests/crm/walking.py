"""Carries out the steps of a provider's API against a simulated vendor, in memory: what is under test is the steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from services.crm.events import Event, TicketEvent
from services.crm.providers.api import Api, ApiError, Call, Reply, Steps
from tests.support.vendors.server import Answered, Asked, Vendor

Result = TypeVar("Result")


def of_tickets(events: Sequence[Event]) -> list[TicketEvent]:
    """Return the events of tickets, without what is said of those who ask."""
    return [event for event in events if isinstance(event, TicketEvent)]


class CrashError(Exception):
    """The process ended while it waited for an answer."""


@dataclass
class Walk:
    """A connection to a simulated vendor. `calls` has every call, `replies` every reply, in order.

    `before` is what happens at the vendor's side just before a call comes in. `crashes` says of a call whether the
    process ends after the vendor has done it and before the answer is read.
    """

    api: Api
    vendor: Vendor
    config: Mapping[str, str]
    credentials: dict[str, str]
    calls: list[Call] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    before: Callable[[Call], object] = lambda _: None
    crashes: Callable[[Call], bool] = lambda _: False

    def run(self, steps: Steps[Result]) -> Result:
        """Carry out steps logged in, as the engine does, with a renewal where there is no access token yet.

        Raises:
            ApiError: a step met an answer that it does not expect.
            CrashError: as `crashes` says.
        """
        try:
            headers = self.api.authorization(self.config, self.credentials)
        except ApiError:
            self.renew()
            headers = self.api.authorization(self.config, self.credentials)
        return self._walk(steps, headers)

    def renew(self) -> None:
        """Get new tokens.

        Raises:
            ApiError: there are none.
        """
        steps = self.api.renew(self.config, self.credentials)
        if steps is None:
            raise ApiError("CREDENTIALS_MISSING")
        self.credentials |= self._walk(steps, {}).secrets

    def writes(self) -> list[Call]:
        """Return the calls that were to change something."""
        return [call for call in self.calls if call.method != "GET"]

    def _walk(self, steps: Steps[Result], headers: Mapping[str, str]) -> Result:
        try:
            call = next(steps)
            while True:
                call = steps.send(self._reply(call, headers))
        except StopIteration as end:
            result: Result = end.value
            return result

    def _reply(self, call: Call, headers: Mapping[str, str]) -> Reply:
        self.before(call)
        self.calls.append(call)
        base = urlsplit(self.api.origin(self.config)).path
        query = dict(parse_qsl(urlencode(list(call.query)), keep_blank_values=True))
        body = urlencode(list(call.form)).encode() if call.form else _json(call.json)
        # A body is copied by its bytes, as it is on a wire: what a vendor keeps is not what we hold.
        asked = Asked(self.vendor.name, call.method, base + call.path, query, {**headers, **call.headers}, body)
        answered = self._answered(asked)
        if self.crashes(call):
            raise CrashError
        reply = Reply(answered.status, dict(answered.headers), _json(answered.json))
        self.replies.append(reply)
        if reply.status >= 300 and reply.status not in call.expects:
            raise ApiError("UNEXPECTED", f"{call.method} {call.path} was answered with {reply.status}")
        return reply

    def _answered(self, asked: Asked) -> Answered:
        if not self.vendor.authorized(asked):
            return Answered(401)
        for route in self.vendor.routes:
            if (found := route.match(asked)) is not None:
                return route.answer(
                    Asked(asked.vendor, asked.method, asked.path, asked.query, asked.headers, asked.body, found)
                )
        return Answered(404)


def _json(value: object) -> bytes:
    return b"" if value is None else orjson.dumps(value)
