"""Times between Python and messages."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rapport.tickets.v1 import ticket_pb2

from servicekit.errors import RequestInvalidError
from servicekit.timestamps import moment, timestamp

TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - its bounds are naive


@given(when=TIMES)
def test_a_time_comes_back_as_it_was(when: datetime) -> None:
    """To the microsecond; what is absent stays absent."""
    assert moment(ticket_pb2.Ticket(create_time=timestamp(when)), "create_time") == when
    assert moment(ticket_pb2.Ticket(create_time=timestamp(None)), "create_time") is None


@pytest.mark.parametrize(
    "stamp",
    [Timestamp(nanos=-1), Timestamp(nanos=2_000_000_000), Timestamp(seconds=10**12), Timestamp(seconds=-(10**12))],
)
def test_what_is_no_time_is_refused_with_its_field(stamp: Timestamp) -> None:
    """A caller learns which field it was, whatever is wrong with it."""
    with pytest.raises(RequestInvalidError) as refused:
        moment(ticket_pb2.Ticket(create_time=stamp), "create_time")
    assert [violation.field for violation in refused.value.violations] == ["create_time"]
