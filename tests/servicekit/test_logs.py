"""Logs as a process writes them: JSON lines on standard error."""

import logging
import subprocess
import sys

import orjson
import pytest

from servicekit.logs import LibraryHandler
from tests.servicekit.probe import REQUEST, SERVICE, running
from tests.support import wire

PROGRAM = """
import logging
import structlog
from servicekit import logs
logs.configure("info")
log = structlog.get_logger()
log.debug("too_quiet")
log.info("ticket_opened", tenant_id="t", number=7)
logging.getLogger("library").warning("something %s", "odd")
try:
    raise KeyError("inner")
except KeyError as error:
    log.error("failed", error=logs.describe_exception(error))
"""


def test_each_event_is_one_json_object_on_standard_error() -> None:
    """Our events and those of libraries share one form; standard output stays free for results."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=60)
    lines = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == b""
    assert [line["event"] for line in lines] == ["ticket_opened", "library_message", "failed"]
    assert (lines[0]["number"], lines[0]["level"]) == (7, "info")
    assert lines[1]["message"] == "something odd"
    assert "KeyError" in lines[2]["error"]
    assert all("timestamp" in line for line in lines)


async def test_what_grpc_cannot_read_is_not_quoted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header that is no text does no harm to the call; its value, which may be a secret, is never written down."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [LibraryHandler()])
    names = (b"authorization-of-mine", b"user-agent", b"x-webhook-token", b"grpc-accept-encoding", b"lb-token")
    async with running() as probe:
        for name in names:
            said = await wire.call(probe.server.address, f"/{SERVICE}/Open", REQUEST, [(name, b"planted-\xe9\xff")])
            assert said[b"grpc-status"] == b"0", name
        for name in (b"grpc-encoding", b"grpc-timeout", b"grpc-previous-rpc-attempts", b"planted-bin"):
            await wire.call(probe.server.address, f"/{SERVICE}/Open", REQUEST, [(name, b"planted-\xe9\xff")])
    written = "".join(capfd.readouterr())
    assert "grpc._cython.cygrpc" in written
    assert "planted-" not in written.replace("planted-bin", "")


@pytest.mark.parametrize("name", ["grpc", "grpc._server", "grpc.aio._call", "grpc._cython.cygrpc"])
def test_a_text_of_grpc_is_left_out_and_its_error_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever part of gRPC writes it; the kind of the error and its place in the code stay."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [LibraryHandler()])
    try:
        int("planted")
    except ValueError:
        logging.getLogger(name).exception("Exception calling application: %s", "planted")
        logging.getLogger(name).exception("Exception servicing planted")
    written = "".join(capfd.readouterr())
    assert "planted" not in written.replace('int("planted")', "")
    assert written.count("builtins.ValueError") == 2
