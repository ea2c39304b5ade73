"""`rapport.tickets.v1.SearchService`: messages in, one call, messages out."""

from rapport.tickets.v1 import search_service_pb2, search_service_pb2_grpc

from servicekit.identity import caller_tenant
from servicekit.pages import page_size
from services.tickets import resources
from services.tickets.cards import Filters
from services.tickets.counting import Counting
from services.tickets.search import Match, Search
from services.tickets.service import Context

_Asked = search_service_pb2.CountTicketsRequest
_BY = {
    _Asked.BY_UNSPECIFIED: "",
    _Asked.BY_STATUS: "status",
    _Asked.BY_PRIORITY: "priority",
    _Asked.BY_CHANNEL: "channel",
    _Asked.BY_ASSIGNEE: "assigned_to",
    _Asked.BY_TAG: "tag",
    _Asked.BY_BREACHED: "breached",
}


class SearchServicer(search_service_pb2_grpc.SearchServiceServicer):
    """Searches and counts tickets."""

    def __init__(self, search: Search, counting: Counting) -> None:
        self._search = search
        self._counting = counting

    async def SearchTickets(
        self, request: search_service_pb2.SearchTicketsRequest, _context: Context
    ) -> search_service_pb2.SearchTicketsResponse:
        """Search tickets by what was written in them."""
        found = await self._search.tickets(
            caller_tenant(), request.query, request.status, request.page_token, page_size(request.page_size)
        )
        return search_service_pb2.SearchTicketsResponse(
            results=[_result(match) for match in found.page],
            next_page_token=found.next_token,
            matches=bounded(found.count, more=found.more),
        )

    async def CountTickets(
        self, request: search_service_pb2.CountTicketsRequest, _context: Context
    ) -> search_service_pb2.CountTicketsResponse:
        """Count tickets, all and by their kind."""
        filters = Filters(
            status=request.status,
            priority=request.priority,
            channel=request.channel,
            assigned_to=request.assigned_to,
            customer_id=request.customer_id,
            breached=request.breached,
        )
        counts = await self._counting.count(caller_tenant(), filters, request.tag, _BY[request.by])
        return search_service_pb2.CountTicketsResponse(
            total=bounded(counts.total.value, more=counts.total.more),
            groups=[
                search_service_pb2.TicketCount(value=value, count=bounded(count.value, more=count.more))
                for value, count in counts.groups
            ],
        )


def bounded(value: int, *, more: bool) -> search_service_pb2.BoundedCount:
    """Return a count of which may be known only that there are more."""
    return search_service_pb2.BoundedCount(value=value, more=more, text=f"{value:,}{'+' if more else ''}")


def _result(match: Match) -> search_service_pb2.SearchResult:
    return search_service_pb2.SearchResult(
        ticket=resources.ticket(match.stored),
        relevance=match.relevance,
        snippet=[search_service_pb2.SnippetPart(text=piece.text, matched=piece.matched) for piece in match.snippet],
    )
