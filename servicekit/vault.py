"""Key-encryption keys in HashiCorp Vault's transit engine; they never leave it. Needs the extra `rapport[vault]`.

The token comes from a file, which is read for each call: whoever renews it (a Vault agent) only replaces the file.
"""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

from servicekit.envelope import SealBrokenError, named_wrap, wrap_place, wrapped_by
from servicekit.kek import AT_ONCE, KekUnavailableError

_SECONDS = 2.0


class VaultTransit:
    """A key of a transit engine; its versions have the names `vault:<mount>/<key>:v<version>`.

    Args:
        url: Vault's address.
        mount: where the engine is mounted.
        key: the key's name; of a type with authenticated additional data (`aes256-gcm96`, Vault's default).
        token_file: the file that holds the token.
        ca_file: the certificates that vouch for Vault; None for those of the system.
        namespace: Vault's namespace; empty for none.

    Raises:
        ValueError: the SDK is not installed.
    """

    def __init__(
        self, url: str, *, mount: str, key: str, token_file: Path, ca_file: Path | None = None, namespace: str = ""
    ) -> None:
        try:
            import hvac
        except ImportError as error:
            raise ValueError("Vault is set and its SDK is not installed: pip install 'rapport[vault]'") from error

        self._client = hvac.Client
        self._errors = hvac.exceptions
        self._options = {
            "url": url,
            "verify": str(ca_file) if ca_file else True,
            "namespace": namespace or None,
            "timeout": _SECONDS,
            "allow_redirects": False,
        }
        # Threads of its own: names are looked up in those of the loop, and a silent Vault would hold them all.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vault")
        self._where = {"name": key, "mount_point": mount}
        self._token_file = token_file
        self._name = f"vault:{mount}/{key}"

    def holds(self, name: str) -> bool:
        """Tell whether a name is that of a version of this key."""
        return name.startswith(f"{self._name}:")

    async def active(self) -> str:
        """Return the name of the newest version; errors as for every provider."""
        found = await self._ask(lambda transit: transit.read_key(**self._where))
        return f"{self._name}:v{found['latest_version']}"

    async def wrap(self, data_key: bytes, tenant_id: UUID) -> bytes:
        """Return a tenant's data key wrapped by the newest version; errors as for every provider."""
        plaintext, place = _text(data_key), _text(wrap_place(self._name, tenant_id))
        found = await self._ask(
            lambda transit: transit.encrypt_data(plaintext=plaintext, associated_data=place, **self._where)
        )
        ciphertext = str(found["ciphertext"])
        return named_wrap(f"{self._name}:{_version(ciphertext)}", ciphertext.encode())

    async def unwrap(self, wrapped: bytes, tenant_id: UUID) -> bytes:
        """Return the data key; errors as for every provider."""
        name, ciphertext = wrapped_by(wrapped), wrapped[1 + wrapped[0] :].decode(errors="replace")
        if name != f"{self._name}:{_version(ciphertext)}":
            raise SealBrokenError("The wrapped key is not what its name says.")
        place = _text(wrap_place(self._name, tenant_id))
        found = await self._ask(
            lambda transit: transit.decrypt_data(ciphertext=ciphertext, associated_data=place, **self._where),
            refused=SealBrokenError("Vault does not open the data key here."),
        )
        return b64decode(found["plaintext"], validate=True)

    def _session(self, session: Any) -> Any:
        """Return a session of `requests` that heeds our settings only, not what the environment says of proxies."""
        session.trust_env = False
        session.verify = self._options["verify"]
        return session

    async def _ask(self, question: Callable[[Any], Any], refused: Exception | None = None) -> Any:
        """Call Vault in a thread of its own and return the answer's data.

        Raises:
            KekUnavailableError: Vault is out of reach, or does not let us in.
            Exception: `refused`, when Vault says that the request itself is wrong (400).
        """

        def ask() -> Any:
            import requests

            try:
                token = self._token_file.read_text(encoding="utf-8").strip()
                client = self._client(token=token, session=self._session(requests.Session()), **self._options)
                try:
                    return question(client.secrets.transit)["data"]
                finally:
                    client.adapter.close()
            # Vault's own words may quote what was sent: they go no further.
            except (self._errors.VaultError, requests.RequestException, OSError, KeyError, TypeError) as error:
                if refused is not None and isinstance(error, self._errors.InvalidRequest):
                    raise refused from None
                raise KekUnavailableError(
                    f"Vault does not answer as it should ({type(error).__name__}).", retry_after=1
                ) from None

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)


def _version(ciphertext: str) -> str:
    """Return the version in a ciphertext of Vault (`vault:v3:…`), empty when it is none."""
    parts = ciphertext.split(":", 2)
    return parts[1] if len(parts) == 3 and parts[0] == "vault" else ""  # noqa: PLR2004 - prefix, version, content


def _text(value: bytes) -> str:
    return b64encode(value).decode()
