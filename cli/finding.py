"""An operator's calls that find tickets: search, counts, topic alerts and spikes."""

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from rapport.tickets.v1 import (
    search_service_pb2,
    search_service_pb2_grpc,
    topic_service_pb2,
    topic_service_pb2_grpc,
)

from cli.errors import CommandError
from cli.operator import as_dict, operator_of
from cli.suite.folder import SuiteFolder

Found = dict[str, Any]
_PAGE = 200
_SECONDS = 30


async def search(folder: SuiteFolder, tenant: str, query: str, status: str, limit: int) -> Found:
    """Return the best matches, `limit` at most, and how many there are."""
    results: list[Any] = []
    token = ""
    async with operator_of(folder) as operator:
        stub = operator.stub(search_service_pb2_grpc.SearchServiceStub, "tickets")
        while True:
            request = search_service_pb2.SearchTicketsRequest(
                query=query, status=status, page_size=min(_PAGE, limit - len(results)), page_token=token
            )
            page = await stub.SearchTickets(request, metadata=await operator.metadata(tenant), timeout=_SECONDS)
            results += page.results
            token = page.next_page_token
            if not token or len(results) >= limit:
                return {"results": [as_dict(one) for one in results], "matches": as_dict(page.matches)}


async def count(folder: SuiteFolder, tenant: str, by: str, **filters: Any) -> Found:
    """Return how many tickets pass the filters, and how many of each kind."""
    known = search_service_pb2.CountTicketsRequest.By
    names = known.keys()
    kinds = [name.removeprefix("BY_").lower() for name in names if name != "BY_UNSPECIFIED"]
    if by and by not in kinds:
        raise CommandError(f"--by: there is no '{by}': {', '.join(kinds)}.", reason="USAGE")
    request = search_service_pb2.CountTicketsRequest(by=known.Value(f"BY_{(by or 'unspecified').upper()}"), **filters)
    async with operator_of(folder) as operator:
        stub = operator.stub(search_service_pb2_grpc.SearchServiceStub, "tickets")
        return as_dict(await stub.CountTickets(request, metadata=await operator.metadata(tenant), timeout=_SECONDS))


async def topics(folder: SuiteFolder, tenant: str, method: str, **fields: Any) -> Found:
    """Call a method of the service of topic alerts and spikes."""
    request = getattr(topic_service_pb2, f"{method}Request")(**fields)
    async with operator_of(folder) as operator:
        stub = operator.stub(topic_service_pb2_grpc.TopicServiceStub, "tickets")
        metadata = await operator.metadata(tenant)
        return as_dict(await getattr(stub, method)(request, metadata=metadata, timeout=_SECONDS))


def end_of(text: str) -> Timestamp | None:
    """Read the time of `--until`, UTC where it names no zone; None when there is none.

    Raises:
        CommandError: it is no time.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--until: '{text}' is no ISO 8601 time.", reason="USAGE") from error
    stamp = Timestamp()
    stamp.FromDatetime(time if time.tzinfo else time.replace(tzinfo=UTC))
    return stamp
