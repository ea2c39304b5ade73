"""The suite's secrets: made once, kept in files that only their owner can read, never in an argument list or a log."""

import json
import os
import secrets
import string
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cli.suite.names import SERVICES

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 43
"""Characters of a secret: 256 bits of base 62."""

KEY_ENCRYPTION_KEYS = "key-encryption-keys.json"
"""The file of the key-encryption keys in the folder of the secrets."""

WORKLOADS = ("crm", "tickets", "recommendations", "gateway")
"""What proves itself to the tenant service with a workload secret."""


@dataclass(frozen=True)
class SuiteSecrets:
    """The passwords and keys of a suite, and the files in which processes find them.

    Attributes:
        postgres: the password of each Postgres role, the superuser's under `postgres`.
        valkey: Valkey's password.
        operator_key: what an operator's command line proves itself with.
        operator_key_file: the file that holds it.
        workloads_file: a JSON object with the secret of each workload, for the tenant service.
        workload_files: the file with the own secret, by workload.
        key_encryption_file: the key-encryption keys.
    """

    postgres: dict[str, str]
    valkey: str
    operator_key: str
    operator_key_file: Path
    workloads_file: Path
    workload_files: dict[str, Path]
    key_encryption_file: Path


def suite_secrets(folder: Path) -> SuiteSecrets:
    """Return the secrets kept in the folder, with those made that do not exist yet."""
    roles = ["postgres", *(f"{service}_{kind}" for service in SERVICES for kind in ("owner", "app"))]
    postgres = _json_object(folder / "postgres.json", roles)
    workloads = _json_object(folder / "workloads.json", list(WORKLOADS))
    files = {}
    for name, secret in workloads.items():
        files[name] = folder / f"workload-{name}"
        write_private(files[name], secret)
    key_encryption_file = folder / KEY_ENCRYPTION_KEYS
    if not key_encryption_file.exists():
        from servicekit.envelope import KeyEncryptionKeys

        KeyEncryptionKeys.create(key_encryption_file)
    return SuiteSecrets(
        postgres=postgres,
        valkey=_text(folder / "valkey"),
        operator_key=operator_key(folder),
        operator_key_file=folder / "operator-key",
        workloads_file=folder / "workloads.json",
        workload_files=files,
        key_encryption_file=key_encryption_file,
    )


def operator_key(folder: Path) -> str:
    """Return the operator's key, made on first use."""
    return _text(folder / "operator-key", prefix="rpo_")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    # A name of its own: of two writers at once, neither may write into the other's file.
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _new_secret() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def _text(path: Path, prefix: str = "") -> str:
    if not path.exists():
        write_private(path, prefix + _new_secret())
    return path.read_text(encoding="utf-8")


def _json_object(path: Path, names: list[str]) -> dict[str, str]:
    """Return the object in the file, completed by a new secret for each name that it lacks."""
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if missing := [name for name in names if name not in found]:
        found |= {name: _new_secret() for name in missing}
        write_private(path, json.dumps(found))
    return found
