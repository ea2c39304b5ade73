"""Several processes of a service: they share the work, and one of them may stop or die under load."""

import json
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.stack import Stack, wait_until
from tests.gateway.upstream import GOOD_KEY

HEADERS = {"x-api-key": GOOD_KEY}


@pytest.fixture(scope="module")
def pair() -> Iterator[Stack]:
    """An edge in front of two processes of a service."""
    whole = Stack()
    whole.settings |= {"REQUESTS_PER_MINUTE": "10000000"}
    try:
        yield whole.start()
    finally:
        whole.stop()


class Load:
    """Sends reading and writing requests from some connections until it is told to end."""

    def __init__(self, stack: Stack) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.servers: Counter[str] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(stack, verb)) for verb in ("GET", "POST") * 2]
        for thread in self._threads:
            thread.start()

    def _send(self, stack: Stack, verb: str) -> None:
        with stack.client() as client:
            while not self._over.is_set():
                if verb == "GET":
                    answer = client.get("/v1/things/1", headers=HEADERS)
                else:
                    answer = client.post("/v1/things", json={"name": "a"}, headers=HEADERS)
                self.statuses[verb, answer.status_code] += 1
                if answer.status_code == httpx.codes.OK:
                    self.servers[answer.json()["server"]] += 1

    def pass_on(self, requests: int) -> None:
        """Wait until so many more requests were answered."""
        target = self.statuses.total() + requests
        wait_until(lambda: self.statuses.total() >= target, "requests are answered")

    def end(self) -> None:
        """Stop sending."""
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def load(pair: Stack) -> Iterator[Load]:
    """Load on the edge while a test runs."""
    made = Load(pair)
    try:
        made.pass_on(50)
        yield made
    finally:
        made.end()


def healthy(pair: Stack) -> None:
    """Wait until both processes answer again."""
    with pair.client() as client:
        seen: set[str] = set()

        def both() -> bool:
            seen.add(client.get("/v1/things/1", headers=HEADERS).json().get("server", ""))
            return seen >= {"one", "two"}

        wait_until(both, "both processes answer")


def test_processes_share_the_work(load: Load) -> None:
    """Neither does nearly all of it."""
    load.pass_on(300)
    assert min(load.servers["one"], load.servers["two"]) > load.servers.total() * 0.2


def test_a_process_that_stops_gracefully_under_load_fails_no_request(pair: Stack, load: Load) -> None:
    """It says so first, takes no new requests, and finishes those that it has; then it comes back."""
    for _ in range(2):
        pair.loop.run(pair.probe_server.drain())
        load.pass_on(200)
        pair.probe_server.start()
        healthy(pair)
        load.pass_on(100)
    load.end()
    assert set(load.statuses) == {("GET", 200), ("POST", 200)}, load.statuses


def test_a_process_that_is_gone_at_once_costs_no_request_that_may_be_repeated(pair: Stack, load: Load) -> None:
    """What only reads is asked of the other; of what writes only that fails which it had under way."""
    logged = len(pair.access_log().splitlines())
    pair.probe_server.stop()
    load.pass_on(200)
    pair.probe_server.start()
    healthy(pair)
    load.end()
    with pair.client() as client:
        pair.wait_for_access_log(client.get("/v1/things/1", headers=HEADERS).headers["x-request-id"])
    entries = [json.loads(line) for line in pair.access_log().splitlines()[logged:] if line.startswith("{")]
    # A server that is stopped in this process has a last word for what it has under way; a dead one has not.
    spoken = {entry["details"] for entry in entries if entry["verb"] == "GET" and entry["status"] != httpx.codes.OK}
    assert spoken <= {"via_upstream"}, (spoken, load.statuses)
    failed = load.statuses.total() - load.statuses["GET", 200] - load.statuses["POST", 200]
    assert failed <= 4, load.statuses


def ejections(pair: Stack) -> int:
    """Return how often Envoy has put a process of the probe aside because it could not be reached."""
    name = "ejections_enforced_consecutive_local_origin_failure"
    transport = httpx.HTTPTransport(uds=str(pair.folder / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://envoy") as admin:
        stats = admin.get(f"/stats?filter=^cluster.probe.outlier_detection.{name}$&format=json").json()["stats"]
    return next((int(entry["value"]) for entry in stats if "value" in entry), 0)


def test_a_process_that_refuses_connections_is_put_aside_before_its_health_is_asked_for(pair: Stack) -> None:
    """After three failed connections in a row; what only reads is asked of the other and does not fail."""
    healthy(pair)
    before = ejections(pair)
    pair.probe_server.stop()
    with pair.client() as client:
        answers = [client.get("/v1/things/1", headers=HEADERS) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["server"] for answer in answers} == {"two"}
    wait_until(lambda: ejections(pair) > before, "the process is put aside")
    pair.probe_server.start()
    healthy(pair)
