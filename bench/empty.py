"""The limit's service: every method answers the same `google.api.HttpBody` and does nothing else.

`python -m bench.empty PORT FILE` serves the content of FILE.
"""

import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.api import httpbody_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Everything(grpc.GenericRpcHandler):
    """Answers whatever method is called."""

    def __init__(self, body: bytes) -> None:
        answer: bytes = httpbody_pb2.HttpBody(content_type="application/json", data=body).SerializeToString()

        async def reply(request: bytes, context: object) -> bytes:
            del request, context
            return answer

        self._handler: Any = grpc.unary_unary_rpc_method_handler(reply)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the one handler, except for health."""
        return None if handler_call_details.method.startswith("/grpc.health") else self._handler


async def serve(port: int, body: bytes) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4 * 1024 * 1024)])
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    server.add_generic_rpc_handlers((Everything(body),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes()))
