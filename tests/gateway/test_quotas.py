"""One quota for several Envoys: how it is divided, and that two real ones keep to it together."""

import threading
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shares import RESERVE, divide
from tests.gateway.stack import Stack, wait_until

DEMANDS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.floats(min_value=0, max_value=1e6), min_size=1, max_size=8
)


@given(quota=st.floats(min_value=0.1, max_value=1e6), demands=DEMANDS)
def test_shares_add_up_to_the_quota(quota: float, demands: dict[str, float]) -> None:
    """Whatever was asked for: nothing is given twice, and nothing is kept back."""
    shares = divide(quota, demands)
    assert shares.keys() == demands.keys()
    assert sum(shares.values()) == pytest.approx(quota)


@given(quota=st.floats(min_value=0.1, max_value=1e6), demands=DEMANDS)
def test_nobody_has_more_than_who_asks_for_as_much(quota: float, demands: dict[str, float]) -> None:
    """Max-min fair: a greater share goes only to a greater demand, and nobody is left with nothing."""
    shares = divide(quota, demands)
    for one, share in shares.items():
        assert share >= quota / len(demands) * RESERVE * 0.999
        for other, its in shares.items():
            if demands[one] >= demands[other]:
                assert share >= its * 0.999


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        ({}, {}),
        ({"a": 5}, {"a": 100}),
        ({"a": 1000, "b": 1000}, {"a": 50, "b": 50}),
        ({"a": 20, "b": 1000}, {"a": 20, "b": 80}),
        ({"a": 0, "b": 1000}, {"a": 5, "b": 95}),
        ({"a": 20, "b": 40}, {"a": 40, "b": 60}),
    ],
    ids=["nobody", "one", "equals", "one asks for little", "one asks for nothing", "there is enough"],
)
def test_a_quota_follows_what_is_asked_for(demands: dict[str, float], expected: dict[str, float]) -> None:
    """Of a hundred requests a second."""
    assert divide(100, demands) == pytest.approx(expected)


def test_two_envoys_keep_to_one_quota_together() -> None:
    """A tenant that sends more than its quota to both is served its quota, and another tenant all of its requests.

    The control plane then dies, and both go on with the shares that they have.
    """
    stack = Stack()
    # Both listen on the same port; the kernel spreads connections over them.
    stack.settings |= {"SHARED_QUOTAS": "true"}
    try:
        stack.start()
        first = stack.settings
        second = stack.folder / "second"
        second.mkdir(mode=0o700)
        stack.settings = first | {"DATA_DIR": str(second), "NODE_ID": "second"}
        stack.start_process("second", "envoy")
        stack.settings = first
        wait_until(
            lambda: "node=second" in stack.log("control") or '"second"' in stack.log("control"), "both are there"
        )
        flood = Flood(stack, quota=600)
        modest = Flood(stack, quota=600_000, pause=0.2)
        wait_until(lambda: flood.passed > 0, "requests pass")
        # Two rounds of reports: until then each Envoy gives the whole quota.
        wait_until(lambda: stack.log("control").count("quota_stream_opened") == 2, "both report")
        # With a share instead of the whole at each, what both let through together comes down to the quota.
        wait_until(lambda: flood.rate(1) < 14, "both have their share")
        shared = flood.rate(5)
        stack.kill("control")
        alone = flood.rate(4)
        flood.end()
        modest.end()
    finally:
        stack.stop()
    print(f"of 10 requests a second {shared:.1f} passed, without the control plane {alone:.1f}")  # noqa: T201 - figures
    assert 5 < shared < 14
    assert 5 < alone < 14
    assert flood.statuses.keys() == {200, 429}
    assert modest.statuses.keys() == {200}


class Flood:
    """Requests of one tenant, each over a new connection, so that both Envoys have their part."""

    def __init__(self, stack: Stack, quota: int, pause: float = 0.02) -> None:
        self.statuses: Counter[int] = Counter()
        self._over = threading.Event()
        token = stack.tokens.token(tid=f"quota-{quota}", quota=quota)
        self._thread = threading.Thread(target=self._send, args=(stack, token, pause))
        self._thread.start()

    @property
    def passed(self) -> int:
        """How many requests were served so far."""
        return self.statuses[200]

    def _send(self, stack: Stack, token: str, pause: float) -> None:
        headers = {"authorization": f"Bearer {token}", "connection": "close"}
        with stack.client() as client:
            while not self._over.wait(pause):
                self.statuses[client.get("/v1/things/7", headers=headers).status_code] += 1

    def settle(self, seconds: float) -> None:
        """Let so much time pass under load."""
        end = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() > end, "time passes")

    def rate(self, seconds: float) -> float:
        """Return how many requests a second are served over so many seconds."""
        before, start = self.passed, time.monotonic()
        self.settle(seconds)
        return (self.passed - before) / (time.monotonic() - start)

    def end(self) -> None:
        """Stop sending."""
        self._over.set()
        self._thread.join()
