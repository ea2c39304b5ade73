"""An operator's calls about the keys that seal credentials, and the file of the suite's key-encryption keys."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from rapport.crm.v1 import data_key_service_pb2, data_key_service_pb2_grpc
from rapport.tenant.v1 import signing_key_service_pb2, signing_key_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder
from cli.suite.secret_files import KEY_ENCRYPTION_KEYS, write_private
from servicekit.envelope import KeyEncryptionKeys

_TIMEOUT_SECONDS = 30
_LOOK_SECONDS = 0.2
_TIMES_ASKED = 4
"""How often two services are asked which key is active before they are said to differ."""

Progress = Callable[[int, int], None]
"""Is told how many tenants are done, of how many."""

DataKeys = data_key_service_pb2_grpc.DataKeyServiceStub
SigningKeys = signing_key_service_pb2_grpc.SigningKeyServiceStub


def key_file(folder: SuiteFolder) -> Path:
    """Return the file of the suite's key-encryption keys."""
    return folder.secrets / KEY_ENCRYPTION_KEYS


def load_keys(path: Path) -> KeyEncryptionKeys:
    """Return the keys of a file.

    Raises:
        CommandError: the file cannot be read or holds something else.
    """
    try:
        return KeyEncryptionKeys.load(path)
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror}.", reason="FILE_UNREADABLE") from error
    except ValueError as error:
        raise CommandError(f"{error}.", reason="KEY_FILE_INVALID") from error


def change_keys(path: Path, change: Callable[[KeyEncryptionKeys], KeyEncryptionKeys]) -> KeyEncryptionKeys:
    """Put what `change` makes of a file's keys into the file, and return it; who does so at the same time waits.

    Whatever `change` raises leaves the file as it is.

    Raises:
        CommandError: as for `load_keys`.
    """
    # The folder is locked, not the file: that is another one after each change.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = change(load_keys(path))
        write_private(path, keys.text().decode())
    finally:
        os.close(folder)
    return keys


async def key_status(folder: SuiteFolder) -> dict[str, Any]:
    """Return which key-encryption key is active, what each is needed for, and the latest rotations."""
    async with operator_of(folder) as operator:
        return await _status(operator)


async def active_kek(folder: SuiteFolder) -> str:
    """Return the name of the key by which the suite wraps; empty when none runs on the folder, or it does not know.

    Raises:
        CommandError: the services wrap by different keys.
    """
    try:
        return str((await key_status(folder))["active_kek"])
    except CommandError as error:
        if error.reason == "ACTIVE_KEK_DIFFERS":
            raise
        return ""


async def rotate_kek(folder: SuiteFolder, progress: Progress) -> dict[str, Any]:
    """Make a new key-encryption key, unless an earlier rotation is unfinished, and wrap everything by the active one.

    The key is made in the suite's file; where another provider is active (Vault, the environment) its active key is
    taken as it is. Returns the rotation with the names of the keys before and now.

    Raises:
        CommandError: some data keys could not be opened; the old key is still needed.
    """
    async with operator_of(folder) as operator:
        before = await _status(operator)
        active = before["active_kek"]
        unfinished = any(name != active for uses in before["kek_uses"].values() for name in uses)
        if not unfinished:
            await _make_kek(operator, key_file(folder), active)
        await _tenant(operator, signing_key_service_pb2.RewrapKeysRequest())
        rotation = await _crm(operator, data_key_service_pb2.RotateKekRequest())
        ended = await _followed(operator, rotation, progress)
        after = await _status(operator)
    return {"rotation": ended, "kek_before": active, "kek": after["active_kek"], "kek_uses": after["kek_uses"]}


async def rotate_data_keys(folder: SuiteFolder, tenant: str, progress: Progress) -> dict[str, Any]:
    """Give all tenants, or one, a new data key and seal what is theirs anew; return the rotation.

    Raises:
        CommandError: some data keys could not be opened.
    """
    request = data_key_service_pb2.RotateDataKeysRequest()
    async with operator_of(folder) as operator:
        return await _followed(operator, await _crm(operator, request, tenant), progress)


async def remove_kek(folder: SuiteFolder, name: str) -> dict[str, Any]:
    """Take a key-encryption key that nothing needs any more out of the suite's file; return how the keys stand.

    Raises:
        CommandError: it is needed, active, or not in the file.
    """
    async with operator_of(folder) as operator:
        _refuse_needed(await _status(operator), name)
        return await _remove(operator, key_file(folder), name)


async def _make_kek(operator: Operator, path: Path, active: str) -> None:
    """Make a new key in the file, if the active key is the file's and nobody else has just made one."""
    held = load_keys(path)
    if held.active_name != active:
        return
    made = change_keys(path, lambda keys: keys.with_new() if keys.active_name == active else keys)
    status = await _status(operator)
    used = any(made.active_name in uses for uses in status["kek_uses"].values())
    if status["active_kek"] == active and not used:
        # Another provider is chosen, and its key has the same name. Nobody wraps by the new one.
        change_keys(path, lambda keys: held if keys.text() == made.text() else keys)


async def _remove(operator: Operator, path: Path, name: str) -> dict[str, Any]:
    """Take a key out of the file; it is put back when somebody has wrapped by it meanwhile, or it is not known."""
    held = load_keys(path)
    try:
        change_keys(path, lambda keys: keys.without(name))
    except ValueError as error:
        raise CommandError(f"{name}: {error}.", reason="KEK_NOT_REMOVABLE") from error
    try:
        status = await _status(operator)
        _refuse_needed(status, name)
    except BaseException:
        change_keys(path, lambda keys: keys.with_old(name, held))
        raise
    return status


def _refuse_needed(status: dict[str, Any], name: str) -> None:
    """Refuse to go on where a key still wraps something.

    Raises:
        CommandError: it does.
    """
    if needed := {service: uses[name] for service, uses in status["kek_uses"].items() if name in uses}:
        counts = ", ".join(f"{count} keys of {service}" for service, count in needed.items())
        raise CommandError(f"{name} still wraps {counts}: run `rapport keys rotate-kek` first.", reason="KEK_NEEDED")


async def _status(operator: Operator) -> dict[str, Any]:
    for _ in range(_TIMES_ASKED):
        crm = await _crm(operator, data_key_service_pb2.GetDataKeyStatusRequest())
        tenant = await _tenant(operator, signing_key_service_pb2.GetKeyWrappingRequest())
        if crm["active_kek"] == tenant["active_kek"]:
            break
        # Another command may have made a new key between the two answers.
    else:
        raise CommandError(
            f"The services wrap by different keys (crm: {crm['active_kek']}, tenant: {tenant['active_kek']}): "
            "give them the same settings.",
            reason="ACTIVE_KEK_DIFFERS",
        )
    return {
        "active_kek": crm["active_kek"],
        "kek_uses": {
            "crm": {use["kek"]: int(use["count"]) for use in crm["kek_uses"]},
            "tenant": {use["kek"]: int(use["count"]) for use in tenant["kek_uses"]},
        },
        "older_data_keys": int(crm["older_data_key_count"]),
        "rotations": [_plain(rotation) for rotation in crm["rotations"]],
    }


async def _followed(operator: Operator, rotation: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Tell of a rotation until it is over; return it."""
    found = _plain(rotation)
    while found["state"] == "running":
        progress(found["done"], found["total"])
        await asyncio.sleep(_LOOK_SECONDS)
        status = await _crm(operator, data_key_service_pb2.GetDataKeyStatusRequest())
        (found,) = [_plain(one) for one in status["rotations"] if one["id"] == rotation["id"]]
    progress(found["done"], found["total"])
    if found["failed"]:
        raise CommandError(
            f"{found['failed']} data keys could not be opened: the key-encryption key that wraps them is gone.",
            reason="SEAL_BROKEN",
        )
    return found


def _plain(rotation: dict[str, Any]) -> dict[str, Any]:
    """Return a rotation with short names and numbers as numbers."""
    return {
        "id": rotation["id"],
        "kind": str(rotation["kind"]).removeprefix("KIND_").lower(),
        "state": str(rotation["state"]).removeprefix("STATE_").lower(),
        "target": rotation["target_kek"],
        "total": int(rotation["total_count"]),
        "done": int(rotation["done_count"]),
        "failed": int(rotation["failed_count"]),
        "problem": rotation["problem"],
        "began": rotation["create_time"],
        "ended": rotation.get("end_time"),
    }


async def _crm(operator: Operator, request: Message, tenant: str = "") -> dict[str, Any]:
    stub = operator.stub(DataKeys, "crm")
    name = request.DESCRIPTOR.name.removesuffix("Request")
    return as_dict(
        await getattr(stub, name)(request, metadata=await operator.metadata(tenant), timeout=_TIMEOUT_SECONDS)
    )


async def _tenant(operator: Operator, request: Message) -> dict[str, Any]:
    stub = operator.stub(SigningKeys, "tenant")
    name = request.DESCRIPTOR.name.removesuffix("Request")
    return as_dict(await getattr(stub, name)(request, metadata=await operator.metadata(), timeout=_TIMEOUT_SECONDS))
