"""Logs as a process writes them: JSON lines on standard error."""

import subprocess
import sys

import orjson

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
