"""The cut-over from a predecessor on a real edge: who answers whom, what is kept from whom, and the way back."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from rapport.gateway.v1 import gateway_service_pb2 as pb
from rapport.gateway.v1 import gateway_service_pb2_grpc as rpc

from cli.errors import CommandError
from cli.migration.cutover import watched
from gateway.predecessor import Cutover, CutoverFile, Predecessor, Unit
from gateway.sides import LONGEST_WINDOW_SECONDS, Side, Sides
from tests.gateway.stack import Stack, wait_until
from tests.support.predecessor_http import OldSide, old_side

pytestmark = pytest.mark.timeout(300)  # an edge of its own is started

OPERATOR = {"sub": "operator:tester", "tid": "", "scope": "gateway.read gateway.write"}
FAILING = "/api/failures/13?bare=true"
"""What Rapport's side answers with a failure."""
WHOLE = "tickets.read tickets.write customers.read recommendations.read recommendations.write"
"""What a credential holds that may do all that the frontend does."""
ONE, TWO, OTHER = (f"00000000-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))


@pytest.fixture(scope="module")
def old() -> Iterator[OldSide]:
    """A predecessor."""
    with old_side() as side:
        yield side


@pytest.fixture(scope="module")
def edge(old: OldSide) -> Iterator[Stack]:
    """An edge of its own beside a predecessor, with room for load."""
    whole = Stack(PREDECESSOR_URL=old.url, PREDECESSOR_KEY="old-key", REQUESTS_PER_MINUTE="10000000")
    try:
        yield whole.start()
    finally:
        whole.stop()


@pytest.fixture(autouse=True)
def _well(old: OldSide) -> None:
    """Every test begins with a predecessor that answers."""
    old.status = 200


def call(edge: Stack, method: str, request: Any) -> Any:
    """Call the control plane with an operator's token."""
    metadata = (("authorization", f"Bearer {edge.tokens.token(seconds=60, **OPERATOR)}"),)

    async def work() -> Any:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.ads}") as channel:
            return await getattr(rpc.GatewayServiceStub(channel), method)(request, metadata=metadata, timeout=30)

    return edge.loop.run(work())


def cut_over(edge: Stack, percent: int, **fields: Any) -> Any:
    """Set the share; it must be in effect."""
    chosen: dict[str, Any] = {"tenants": [ONE, TWO], "unit": pb.CUTOVER_UNIT_SHOP} | fields
    made = call(edge, "CutOver", pb.CutOverRequest(percent=percent, **chosen))
    assert made.in_effect
    return made


def cutover(edge: Stack) -> Any:
    """Return how far it is."""
    return call(edge, "GetStatus", pb.GetStatusRequest()).cutover


def judges(edge: Stack) -> bool:
    """Return whether the control plane knows what to judge credentials by."""
    try:
        cutover(edge)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def who(
    edge: Stack,
    tenant: str,
    path: str = "/api/things/1",
    *,
    source: str | None = None,
    verb: str = "GET",
    **claims: str,
) -> str:
    """Return who answers a shop's request: "old" or "new"."""
    held: dict[str, Any] = {"scope": WHOLE, **claims}
    token = edge.tokens.token(tid=tenant, **held)
    with edge.client(source=source) as client:
        answer = client.request(
            verb, path, headers={"authorization": f"Bearer {token}"}, json={} if verb == "POST" else None
        )
    assert answer.status_code == 200
    return "old" if answer.json()["server"] == "predecessor" else "new"


def test_shops_move_one_after_the_other_and_strangers_never_go_there(edge: Stack, old: OldSide) -> None:
    """Which shop is where follows from the share and their order alone; everything but `/api` is Rapport's."""
    assert who(edge, ONE) == "new"
    sides = {}
    for percent in (0, 1, 50, 51, 100):
        cut_over(edge, percent)
        sides[percent] = [who(edge, ONE), who(edge, TWO), who(edge, OTHER), who(edge, ONE, "/v1/things/1")]
    both, first, none = ["old", "old", "new", "new"], ["new", "old", "new", "new"], ["new", "new", "new", "new"]
    assert sides == {0: both, 1: first, 50: first, 51: none, 100: none}
    cut_over(edge, 0)
    before = len(old.asked)
    assert who(edge, ONE, sub="operator:tester") == "new"
    with edge.client() as client:
        assert client.get("/api/things/1").status_code == 401
        assert client.get("/api/things/1", headers={"x-rapport-side": "predecessor"}).status_code == 401
        assert client.get("/api/things/1", headers={"authorization": "Bearer x.y.z"}).status_code == 401
    assert len(old.asked) == before


def test_the_predecessor_sees_its_own_key_and_no_credential_of_ours(edge: Stack, old: OldSide) -> None:
    """Path, query and body come as they were sent, and the answer goes back as it is."""
    cut_over(edge, 0)
    token = edge.tokens.token(tid=ONE, scope=WHOLE)
    headers = {"authorization": f"Bearer {token}", "origin": "http://localhost:3000"}
    with edge.client() as client:
        answer = client.post("/api/things?a=1&b=%2F", json={"name": "ä"}, headers=headers)
    assert answer.json() == {"server": "predecessor", "path": "/api/things?a=1&b=%2F"}
    assert answer.headers.get_list("access-control-allow-origin") == ["http://localhost:3000"]
    asked = old.asked[-1]
    assert (asked.verb, asked.path, json.loads(asked.body)) == ("POST", "/api/things?a=1&b=%2F", {"name": "ä"})
    assert asked.headers["x-api-key"] == "old-key"
    assert asked.headers["x-forwarded-proto"] == "https"
    assert token not in json.dumps(asked.headers)
    assert "old-key" not in (edge.folder / "envoy.json").read_text() + edge.log("control") + edge.log("envoy")


def test_a_credential_that_may_less_than_the_frontend_stays_with_rapport(edge: Stack, old: OldSide) -> None:
    """The predecessor's key opens everything there: nobody gets more by it than by their own credential."""
    cut_over(edge, 0)
    before = len(old.asked)
    reading = " ".join(one for one in WHOLE.split() if one.endswith(".read"))
    for scope in ("", "orders.read", "tickets.read", reading.replace("customers.read", "xcustomers.readx")):
        assert who(edge, ONE, scope=scope) == "new", scope
    assert who(edge, ONE, "/api/things", verb="POST", scope=reading) == "new"
    assert len(old.asked) == before
    assert who(edge, ONE, scope=reading) == "old"
    assert who(edge, ONE, "/api/things", verb="POST") == "old"


def test_the_way_back_does_not_wait_for_the_disk(edge: Stack) -> None:
    """A share that cannot be kept is refused, but for the one that sends everything back."""
    cut_over(edge, 100)
    file = next(edge.folder.rglob("cutover.json"))
    file.unlink()
    file.mkdir()
    try:
        with pytest.raises(grpc.aio.AioRpcError):
            cut_over(edge, 50)
        assert who(edge, TWO) == "new"
        cut_over(edge, 0)
        assert who(edge, ONE) == "old"
        assert "cutover_not_kept" in edge.log("control")
    finally:
        file.rmdir()
        cut_over(edge, 0)


class Signed:
    """An operator whose tokens the edge believes."""

    def __init__(self, edge: Stack) -> None:
        self._edge = edge

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the credential of a call."""
        return (("authorization", f"Bearer {self._edge.tokens.token(seconds=60, **OPERATOR)}"),)


def test_a_watched_step_ends_when_somebody_else_sets_the_share(edge: Stack) -> None:
    """A cut-over that goes on would undo the rollback that somebody made meanwhile."""
    cut_over(edge, 50)
    operator: Any = Signed(edge)

    async def work() -> None:
        looked = asyncio.Event()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.ads}") as channel:
            stub = rpc.GatewayServiceStub(channel)
            watching = asyncio.create_task(watched(operator, stub, 50, 30.0, lambda _: looked.set()))
            await asyncio.wait_for(looked.wait(), 10)
            assert not watching.done()
            await stub.CutOver(pb.CutOverRequest(percent=0), metadata=await operator.metadata(), timeout=30)
            await asyncio.wait_for(watching, 10)

    with pytest.raises(CommandError) as ended:
        edge.loop.run(work())
    assert ended.value.reason == "CUTOVER_CHANGED"
    assert cutover(edge).percent == 0


def test_a_client_keeps_to_its_side(edge: Stack) -> None:
    """Within one shop clients are divided; the same address is always answered by the same side."""
    cut_over(edge, 50, tenants=[ONE], unit=pb.CUTOVER_UNIT_CLIENT)
    clients = [f"127.0.0.{number}" for number in range(2, 18)]
    first = {source: who(edge, ONE, source=source) for source in clients}
    assert set(first.values()) == {"old", "new"}
    assert {source: who(edge, ONE, source=source) for source in clients} == first


def test_failures_of_the_old_side_are_its_own(edge: Stack, old: OldSide) -> None:
    """They reach the client as they are, are counted on that side, and nothing goes anywhere because of them."""
    cut_over(edge, 0)
    old.status = 503
    token = edge.tokens.token(tid=ONE, scope=WHOLE)
    with edge.client() as client:
        statuses = {
            client.get("/api/things/1", headers={"authorization": f"Bearer {token}"}).status_code for _ in range(5)
        }
    assert statuses == {503}
    wait_until(lambda: bool(cutover(edge).predecessor.failure_count == 5), "the failures are reported")
    assert not cutover(edge).return_detail


class Load:
    """Sends requests of one shop from some connections until it is told to end; `path` may change meanwhile."""

    def __init__(self, edge: Stack) -> None:
        self.path = "/api/things/1"
        self.answers: Counter[tuple[str, int]] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(edge,)) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _send(self, edge: Stack) -> None:
        headers = {"authorization": f"Bearer {edge.tokens.token(tid=ONE, scope=WHOLE)}"}
        with edge.client() as client:
            while not self._over.is_set():
                path = self.path
                self.answers[path, client.get(path, headers=headers).status_code] += 1

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait while the load goes on."""
        wait_until(condition, what)

    def more(self, requests: int) -> None:
        """Wait until so many more requests were answered."""
        target = self.answers.total() + requests
        self.until(lambda: self.answers.total() >= target, "requests are answered")

    def end(self) -> None:
        """Stop sending."""
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_under_load_no_request_is_lost_and_failures_send_everything_back(edge: Stack, old: OldSide) -> None:
    """Shares change under load without a failure; when Rapport's side fails, the old side answers within moments."""
    cut_over(edge, 0)
    load = Load(edge)
    try:
        for percent in (10, 50, 100, 0, 100):
            load.more(40)
            cut_over(edge, percent, window_seconds=60)
        load.more(200)
        assert set(load.answers) == {("/api/things/1", 200)}
        load.path = FAILING
        load.until(lambda: bool(cutover(edge).return_detail), "everything went back")
        load.until(lambda: bool(cutover(edge).in_effect), "every Envoy does so")
        asked = len(old.asked)
        load.until(lambda: len(old.asked) > asked + 50, "the old side answers")
    finally:
        load.end()
    state = cutover(edge)
    assert state.percent == 0
    assert "requests failed" in state.return_detail
    assert {status for path, status in load.answers if path == "/api/things/1"} == {200}
    # Rapport answers this path with a failure, the old side does not: what is 200 came from there.
    assert load.answers[FAILING, 200] >= 50
    assert "cutover_returned" in edge.log("control")


def test_the_share_is_kept_over_a_restart_of_the_control_plane(edge: Stack) -> None:
    """And so are the shops, which need not be named again."""
    cut_over(edge, 1)
    edge.kill("control")
    edge.start_process("control", "serve")
    wait_until(lambda: judges(edge), "it judges credentials again")
    made = call(edge, "CutOver", pb.CutOverRequest(percent=2))
    assert (made.tenant_count, made.unit) == (2, pb.CUTOVER_UNIT_SHOP)
    wait_until(lambda: bool(cutover(edge).in_effect), "Envoy is back")
    assert [who(edge, ONE), who(edge, TWO)] == ["new", "old"]


def test_without_a_predecessor_or_shops_it_is_refused(stack: Stack) -> None:
    """Each by its own reason."""
    for request, reason in (
        (pb.CutOverRequest(percent=1), "CUTOVER_TENANTS_REQUIRED"),
        (pb.CutOverRequest(percent=1, tenants=[ONE]), "PREDECESSOR_NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            call(stack, "CutOver", request)
        assert any(reason in str(value) for _, value in refused.value.trailing_metadata() or ())


@pytest.mark.parametrize("url", ["", "old:80", "ftp://old", "http://user@old", "http://old/path", "http://old?x=1"])
def test_an_address_is_scheme_host_and_port_only(url: str) -> None:
    """Anything else is a mistake that is said at the start."""
    with pytest.raises(ValueError, match="http"):
        Predecessor.parse(url, Path(), has_key=False)


def test_few_failures_are_no_rate() -> None:
    """Two of two may be chance; three count, and what is older than the window does not."""
    now = 100.0
    sides = Sides(lambda: now)
    for _ in range(2):
        sides.count(by_predecessor=False, status=500)
    assert not sides.too_many(0.5, 60)
    sides.count(by_predecessor=False, status=503)
    assert sides.too_many(0.5, 60).startswith("3 of 3 requests failed")
    for _ in range(597):
        sides.count(by_predecessor=False, status=200)
    assert not sides.too_many(0.5, 60)
    sides.count(by_predecessor=False, status=504)
    assert sides.too_many(0.5, 60)
    now = 170.0
    assert not sides.too_many(0.5, 60)


def test_what_is_older_than_any_window_is_not_kept() -> None:
    """Counting alone lets go of it: nobody needs to ask."""
    side = Side()
    for second in range(LONGEST_WINDOW_SECONDS + 50):
        side.count(second, failed=second % 2 == 0)
    assert side.requests == LONGEST_WINDOW_SECONDS + 50
    assert side.window(0) == (LONGEST_WINDOW_SECONDS + 1, LONGEST_WINDOW_SECONDS // 2)
    assert side.window(LONGEST_WINDOW_SECONDS + 46) == (4, 2)


def test_a_damaged_file_leaves_everything_to_rapport(tmp_path: Path) -> None:
    """What is kept comes back as it was."""
    file = CutoverFile(tmp_path / "cutover.json")
    assert file.read() is None
    kept = Cutover(10, (ONE, TWO), Unit.CLIENT, shifted="2026-01-01T00:00:00+00:00")
    file.write(kept)
    assert file.read() == kept
    newer = json.loads((tmp_path / "cutover.json").read_text()) | {"later": True}
    (tmp_path / "cutover.json").write_text(json.dumps(newer))
    assert file.read() == kept
    (tmp_path / "cutover.json").write_text('{"percent": 1}')
    assert file.read() is None
