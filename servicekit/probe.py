"""The health probe of a container: exits 0 when the process at RAPPORT_PROBE_TARGET answers SERVING, else 1."""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT = 2.0
"""Seconds that the answer may take."""


def main() -> None:
    """Ask once; say on standard error what is wrong."""
    target = os.environ.get("RAPPORT_PROBE_TARGET", "")
    if not target:
        sys.exit("RAPPORT_PROBE_TARGET names no address to ask")
    try:
        with grpc.insecure_channel(target) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    except grpc.RpcError as error:
        sys.exit(f"{target} did not answer: {error.code().name}")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"{target} is not serving")


if __name__ == "__main__":
    main()
