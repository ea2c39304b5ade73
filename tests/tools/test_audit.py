"""The audit: it finds what a database knows, and takes no answer for no answer."""

import json
import sys
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import audit
from tools.sbom import Locked

TODAY = date(2026, 1, 1)


def lock_of(folder: Path) -> Path:
    """Write a lock of two invented packages."""
    lines = [f"{name}==1.0 \\\n    --hash=sha256:{'0' * 64}\n" for name in ("good-package", "bad-package")]
    lock = folder / "some.lock"
    lock.write_text("".join(lines), encoding="utf-8")
    return lock


class Database(BaseHTTPRequestHandler):
    """Knows of one vulnerability, by OSV's protocol."""

    def do_POST(self) -> None:
        """Answer for one package."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = {
            "id": "PYSEC-1",
            "aliases": ["CVE-1"],
            "summary": "x",
            "affected": [],
            "modified": "2026-01-01T00:00:00Z",
        }
        body = json.dumps({"vulns": [known]} if asked["package"]["name"] == "bad-package" else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@pytest.fixture
def database() -> Iterator[str]:
    """The address of a database on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    server.shutdown()
    server.server_close()


def audited(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the command; return what it exits with."""
    monkeypatch.setattr(sys, "argv", ["audit", *arguments])
    with pytest.raises(SystemExit) as ended:
        audit.main()
    return ended.value.code


def test_a_known_vulnerability_fails_the_audit(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And names the package; the other one passes."""
    assert audited(monkeypatch, "--osv-url", database, str(lock_of(tmp_path))) == 1
    told = capsys.readouterr().out
    assert "some.lock: 2 packages, 1 findings" in told
    assert "bad-package 1.0: PYSEC-1" in told


def test_a_database_that_does_not_answer_fails_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline nothing is known, and that is said."""
    said = audited(monkeypatch, "--osv-url", "http://127.0.0.1:1/v1/query", str(lock_of(tmp_path)))
    assert str(said).startswith("some.lock could not be audited; nothing is known about it")


def test_what_was_not_looked_up_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped or left out; a vulnerability that is accepted is none until that ends."""
    packages = [Locked(name, "1.0", "") for name in ("skipped", "left-out", "accepted", "ended", "fine")]
    answer = {
        "dependencies": [
            {"name": "skipped", "skip_reason": "not found"},
            {"name": "accepted", "vulns": [{"id": "A-1", "aliases": ["CVE-2"]}]},
            {"name": "ended", "vulns": [{"id": "A-2", "fix_versions": ["1.1"]}]},
            {"name": "fine", "vulns": []},
        ]
    }
    monkeypatch.setattr(audit, "ACCEPTED", {"CVE-2": (TODAY, "not reached"), "A-2": (date(2025, 12, 31), "was")})
    assert list(audit.verdict(answer, packages, TODAY)) == [
        "skipped 1.0: could not be looked up: not found",
        "left-out 1.0: was not looked up",
        "ended 1.0: A-2, mended in 1.1",
    ]


def test_nothing_is_accepted_for_ever() -> None:
    """Each exception has an end and a reason."""
    assert all(until and reason for until, reason in audit.ACCEPTED.values())
