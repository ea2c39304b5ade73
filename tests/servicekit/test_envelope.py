"""Envelope encryption: what is sealed opens in its own place only."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.envelope import KeyEncryptionKeys, SealBrokenError, Sealer, new_data_key, wrapped_by

KEY = new_data_key()
PLACES = st.fixed_dictionaries(
    {
        "tenant_id": st.sampled_from([UUID(int=1), UUID(int=2)]),
        "record": st.text(max_size=3),
        "field": st.text(max_size=3),
        "version": st.integers(0, 3),
    }
)


@given(st.binary(max_size=200), PLACES, PLACES)
def test_a_ciphertext_opens_in_its_own_place_only(
    plaintext: bytes, place: dict[str, Any], other: dict[str, Any]
) -> None:
    """Moved to another tenant, record, field or version it does not open, however the texts may run together."""
    sealed = Sealer(KEY).seal(plaintext, **place)
    assert Sealer(KEY).open(sealed, **place) == plaintext
    if place != other:
        with pytest.raises(SealBrokenError):
            Sealer(KEY).open(sealed, **other)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, difference: int) -> None:
    """Any byte: the format, the nonce, the content, the tag."""
    place: dict[str, Any] = {"tenant_id": UUID(int=1), "record": "r", "field": "f", "version": 1}
    sealed = bytearray(Sealer(KEY).seal(b"secret", **place))
    sealed[position % len(sealed)] ^= difference
    with pytest.raises(SealBrokenError):
        Sealer(KEY).open(bytes(sealed), **place)


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + b"x" * 12, b"\x02" + b"x" * 40], ids=range(4))
def test_what_is_no_ciphertext_is_refused(sealed: bytes) -> None:
    """Truncated and foreign bytes are refused like changed ones."""
    with pytest.raises(SealBrokenError):
        Sealer(KEY).open(sealed, tenant_id=UUID(int=1), record="r", field="f", version=1)


async def test_keys_come_from_a_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    """A new file has mode 0600 and is never overwritten; a readable one is refused."""
    path = tmp_path / "kek.json"
    created = KeyEncryptionKeys.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    wrapped = await created.wrap(KEY, UUID(int=1))
    assert await KeyEncryptionKeys.load(path).unwrap(wrapped, UUID(int=1)) == KEY
    with pytest.raises(FileExistsError):
        KeyEncryptionKeys.create(path)
    path.chmod(0o640)
    with pytest.raises(ValueError, match="0600"):
        KeyEncryptionKeys.load(path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"active": "a", "keys": {}}', '{"active": "a", "keys": {"a": "c2hvcnQ="}}'],
    ids=["empty", "list", "no keys", "active missing", "short key"],
)
def test_a_broken_key_file_is_refused_without_its_content(tmp_path: Path, content: str) -> None:
    """The error names the file and no key."""
    path = tmp_path / "kek.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"kek\.json") as caught:
        KeyEncryptionKeys.load(path)
    assert "c2hvcnQ" not in str(caught.value)


async def test_a_data_key_opens_for_its_tenant_and_through_a_rotation() -> None:
    """Another tenant cannot use a stolen wrap; after a rotation old wraps open, until their key is gone."""
    old, new = new_data_key(), new_data_key()
    wrapped = await KeyEncryptionKeys("old", {"old": old}).wrap(KEY, UUID(int=1))
    rotated = KeyEncryptionKeys("new", {"old": old, "new": new})
    assert await rotated.unwrap(wrapped, UUID(int=1)) == KEY
    assert wrapped_by(wrapped) == "old"
    assert wrapped_by(await rotated.wrap(KEY, UUID(int=1))) == "new"
    with pytest.raises(SealBrokenError):
        await rotated.unwrap(wrapped, UUID(int=2))
    with pytest.raises(SealBrokenError):
        await KeyEncryptionKeys("new", {"new": new}).unwrap(wrapped, UUID(int=1))
