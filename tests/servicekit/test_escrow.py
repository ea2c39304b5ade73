"""The sealed copy of the key-encryption keys: it opens with what was chosen for it, and with nothing else."""

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servicekit.envelope import KeyEncryptionKeys, new_data_key
from servicekit.escrow import (
    EscrowError,
    describe,
    open_with_passphrase,
    open_with_shares,
    seal_with_passphrase,
    seal_with_shares,
)

KEYS = KeyEncryptionKeys("kek-2", {"kek-1": new_data_key(), "kek-2": new_data_key()})
PASSPHRASE = "seven wet cats on a roof"
COPY = seal_with_passphrase(KEYS, PASSPHRASE)


def test_a_passphrase_opens_the_copy_and_another_does_not() -> None:
    """All keys come back with the active one; the copy shows their names and nothing of them."""
    assert open_with_passphrase(COPY, PASSPHRASE).text() == KEYS.text()
    assert describe(COPY)["keks"] == ["kek-1", "kek-2"]
    assert not [key for key in orjson.loads(KEYS.text())["keys"].values() if key.encode() in COPY]
    with pytest.raises(EscrowError):
        open_with_passphrase(COPY, PASSPHRASE.upper())
    with pytest.raises(EscrowError, match="12"):
        seal_with_passphrase(KEYS, "too short")


@pytest.mark.parametrize(("needed", "made"), [(2, 2), (2, 3), (3, 5), (16, 16)])
def test_any_k_of_n_shares_open_the_copy_and_fewer_do_not(needed: int, made: int) -> None:
    """Whichever ones are at hand, in any order; one less than needed opens nothing."""
    sealed = seal_with_shares(KEYS, needed, made)
    assert len(set(sealed.shares)) == made
    for chosen in itertools.islice(itertools.combinations(sealed.shares, needed), 12):
        assert open_with_shares(sealed.copy, list(reversed(chosen))).text() == KEYS.text()
    for chosen in itertools.islice(itertools.combinations(sealed.shares, needed - 1), 12):
        with pytest.raises(EscrowError, match="needed"):
            open_with_shares(sealed.copy, [*chosen, chosen[0]])


def test_shares_of_another_copy_open_nothing() -> None:
    """Nor do shares with a wrong word, nor a passphrase."""
    one, other = (seal_with_shares(KEYS, 2, 3) for _ in range(2))
    with pytest.raises(EscrowError):
        open_with_shares(one.copy, other.shares[:2])
    with pytest.raises(EscrowError):
        open_with_shares(one.copy, [one.shares[0], other.shares[1]])
    with pytest.raises(EscrowError):
        open_with_shares(one.copy, [one.shares[0], one.shares[1].replace(one.shares[1].split()[9], "academic")])
    with pytest.raises(EscrowError, match="shares"):
        open_with_passphrase(one.copy, PASSPHRASE)
    with pytest.raises(EscrowError, match="passphrase"):
        open_with_shares(COPY, one.shares)


def test_one_wrong_share_among_enough_good_ones_is_passed_over() -> None:
    """Whoever brings more than are needed need not know which one is damaged, or of another copy."""
    one, other = (seal_with_shares(KEYS, 2, 3) for _ in range(2))
    words = one.shares[0].split()
    damaged = " ".join([*words[:-1], "academic" if words[-1] != "academic" else "acid"])
    for wrong in (damaged, other.shares[0], other.shares[2], "no share at all", ""):
        for brought in itertools.permutations([wrong, *one.shares[1:]]):
            assert open_with_shares(one.copy, brought).text() == KEYS.text()
        with pytest.raises(EscrowError):
            open_with_shares(one.copy, [wrong, one.shares[1]])


@pytest.mark.parametrize(("needed", "made"), [(1, 1), (1, 3), (0, 2), (4, 3), (2, 17)])
def test_numbers_of_shares_that_make_no_sense_are_refused(needed: int, made: int) -> None:
    """One share alone would be the key in clear."""
    with pytest.raises(EscrowError, match="shares"):
        seal_with_shares(KEYS, needed, made)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_changed_copy_is_noticed(data: st.DataObject) -> None:
    """What stands in clear is authenticated as well; a copy cannot ask for absurd work, or promise other keys."""
    sealed = seal_with_shares(KEYS, 2, 2)
    content = orjson.loads(sealed.copy)
    change = data.draw(
        st.sampled_from(
            [
                {"keks": ["kek-9"]},
                {"create_time": "2020-01-01T00:00:00+00:00"},
                {"format": "rapport-escrow-9"},
                {"sealed": content["sealed"][:-8] + "AAAAAAA="},
                {"sealed": 7},
                {"shares": {"needed": 2, "made": 9}},
                {"more": "words"},
            ]
        )
    )
    with pytest.raises(EscrowError):
        open_with_shares(orjson.dumps({**content, **change}), sealed.shares)


@pytest.mark.parametrize("kdf", [{"n": 2**30}, {"n": 0}, {"r": 10**9}, {"salt": "?"}, {"name": "md5"}, {"n": "x"}])
def test_a_copy_that_asks_for_absurd_work_is_refused(kdf: dict[str, object]) -> None:
    """Somebody may have put another file in its place; opening it must not stop the machine."""
    content = orjson.loads(COPY)
    with pytest.raises(EscrowError, match="not supported"):
        open_with_passphrase(orjson.dumps({**content, "kdf": {**content["kdf"], **kdf}}), PASSPHRASE)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'"x"', b'{"format": "rapport-escrow-1"}'], ids=range(5))
def test_something_else_is_no_copy(content: bytes) -> None:
    """It is said in a sentence."""
    with pytest.raises(EscrowError, match="no sealed copy"):
        describe(content)
