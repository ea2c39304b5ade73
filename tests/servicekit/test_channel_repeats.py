"""What a channel repeats by itself: reads that one of two processes dropped, and nothing that changes something."""

from typing import Any

import grpc
import pytest
from rapport.tickets.v1 import conversation_service_pb2, ticket_pb2, ticket_service_pb2
from rapport.tickets.v1.conversation_service_pb2_grpc import ConversationServiceStub
from rapport.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

from servicekit.channel import open_channel


async def test_a_read_is_repeated_when_a_process_drops_it_and_a_change_is_not() -> None:
    """The first answer is UNAVAILABLE, as that of a process that dies; the next one is right."""
    asked: list[str] = []

    async def read(
        _request: object, context: grpc.aio.ServicerContext[object, object]
    ) -> conversation_service_pb2.Conversation:
        asked.append("read")
        if len(asked) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return conversation_service_pb2.Conversation()

    async def change(_request: object, context: grpc.aio.ServicerContext[object, object]) -> ticket_pb2.Ticket:
        asked.append("change")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        raise AssertionError

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {
        "rapport.tickets.v1.ConversationService": {
            "GetConversation": grpc.unary_unary_rpc_method_handler(
                read,
                conversation_service_pb2.GetConversationRequest.FromString,
                conversation_service_pb2.Conversation.SerializeToString,
            )
        },
        "rapport.tickets.v1.TicketService": {
            "CloseTicket": grpc.unary_unary_rpc_method_handler(
                change, ticket_service_pb2.CloseTicketRequest.FromString, ticket_pb2.Ticket.SerializeToString
            )
        },
    }
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, handlers) for service, handlers in methods.items())
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"ipv4:127.0.0.1:{port}") as channel:
            await ConversationServiceStub(channel).GetConversation(conversation_service_pb2.GetConversationRequest())
            with pytest.raises(grpc.aio.AioRpcError):
                await TicketServiceStub(channel).CloseTicket(ticket_service_pb2.CloseTicketRequest())
    finally:
        await server.stop(None)
    assert asked == ["read", "read", "change"]
