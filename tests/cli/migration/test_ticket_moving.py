"""Moving a page of tickets: what is sent before the page counts as moved."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from rapport.tickets.v1 import migration_service_pb2 as forms

from cli.migration.judging import judge
from cli.migration.mapping import Placement, Rules
from cli.migration.moving import MovingTicket
from cli.migration.plan import FORMAT, Origin, Plan
from cli.migration.rows import SourceMessage, SourceTicket
from cli.migration.state import State
from cli.migration.target import Target
from cli.migration.ticket_moving import TicketMoving

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = Plan(FORMAT, "", Origin("1/x", "shared", "18", {}, {}, {}), Rules(), (), "delta", "")
KEPT, ERASED = UUID(int=1), UUID(int=2)


@dataclass
class Far(Target):
    """Rapport, which erased one ticket, and which may be gone when contacts are sent."""

    gone: bool = False
    reached: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Call nobody."""
        stubs = SimpleNamespace(stub=lambda *_: SimpleNamespace(ImportTickets=1, SetCustomerContacts=2))
        super().__init__(cast("Any", stubs), batch=10, rate=0)

    async def call(self, tenant: str, method: Any, request: Any, seconds: float = 60, **_: Any) -> Any:
        """Answer."""
        del tenant, seconds
        if method == 1:
            outcomes = {str(ERASED): forms.ImportedTicketResult.OUTCOME_ERASED}
            made = forms.ImportedTicketResult.OUTCOME_CREATED
            results = [forms.ImportedTicketResult(outcome=outcomes.get(one.id, made)) for one in request.tickets]
            return forms.ImportTicketsResponse(results=results)
        if self.gone:
            raise ConnectionError
        self.reached += [one.customer_id for one in request.contacts]
        return None


def moving(ident: UUID, customer: str) -> MovingTicket:
    """Return a ticket whose customer wrote."""
    said = SourceMessage(UUID(int=ident.int + 100), False, "Hello", "Ann", f"{customer}@example.com", "", NOW)
    ticket = SourceTicket(
        *(ident, "T-001", customer, "email", "open", "normal", "", "", (), {}, NOW, NOW, None, (said,), ())
    )
    return MovingTicket(ticket, Placement("yarns", "customer"), judge(ticket, Rules()))


async def test_a_page_counts_as_moved_only_when_its_contacts_were_sent(tmp_path: Path) -> None:
    """Who is interrupted between both begins with that page again; an erased ticket's customer is not reached."""
    target = Far(gone=True)
    page = [moving(KEPT, "ann"), moving(ERASED, "bob")]
    with State.open(tmp_path / "state", PLAN) as state:
        tickets = TicketMoving(["yarns"], Rules(), target, state, lambda *_: None)
        with pytest.raises(ExceptionGroup):
            await tickets.send(page, cursor="2")
        assert state.get("tickets") == ""
        target.gone = False
        await tickets.send(page, cursor="2")
        assert state.get("tickets") == "2"
        assert target.reached == ["ann"]
        assert state.counts()["yarns"]["contacts"] == 1
