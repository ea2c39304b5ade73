"""A small server that speaks HashiCorp Vault's transit API (v1), as its documentation describes it, over real HTTP.

It keeps named AES-256-GCM keys with versions, and counts the calls. Sealed, it answers 503 as Vault does; silent, it
takes requests and does not answer.
"""

import contextlib
import json
import secrets
import threading
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class RefusedError(Exception):
    """Vault refuses a request with a status and an error's text."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status = status
        self.errors = list(errors)


@dataclass
class TransitKey:
    """A named key with its versions."""

    versions: dict[int, bytes] = field(default_factory=lambda: {1: secrets.token_bytes(32)})
    min_decryption_version: int = 1

    def rotate(self) -> None:
        """Add a version."""
        self.versions[max(self.versions) + 1] = secrets.token_bytes(32)

    def described(self, name: str) -> dict[str, Any]:
        """Return what may be read of the key."""
        return {
            "name": name,
            "type": "aes256-gcm96",
            "derived": False,
            "exportable": False,
            "deletion_allowed": False,
            "keys": {str(version): 1442851412 for version in self.versions},
            "latest_version": max(self.versions),
            "min_available_version": 0,
            "min_decryption_version": self.min_decryption_version,
            "min_encryption_version": 0,
            "supports_encryption": True,
            "supports_decryption": True,
        }

    def encrypt(self, told: dict[str, Any]) -> dict[str, Any]:
        """Encrypt base64 plaintext with the newest version, authenticating the associated data."""
        plaintext = _bytes(told, "plaintext", "failed to base64-decode plaintext")
        version, nonce = max(self.versions), secrets.token_bytes(_NONCE)
        sealed = AESGCM(self.versions[version]).encrypt(nonce, plaintext, _associated(told))
        return {"ciphertext": f"vault:v{version}:{b64encode(nonce + sealed).decode()}", "key_version": version}

    def decrypt(self, told: dict[str, Any]) -> dict[str, Any]:
        """Decrypt a ciphertext of a version that is still allowed."""
        prefix, _, rest = str(told.get("ciphertext", "")).partition(":v")
        number, _, content = rest.partition(":")
        if prefix != "vault" or not number.isdecimal():
            raise RefusedError(400, "invalid ciphertext: no prefix")
        version = int(number)
        if version < self.min_decryption_version:
            raise RefusedError(400, "ciphertext or signature version is disallowed by policy (too old)")
        if version not in self.versions:
            raise RefusedError(400, "invalid ciphertext: version is too new")
        try:
            raw = b64decode(content, validate=True)
            plaintext = AESGCM(self.versions[version]).decrypt(raw[:_NONCE], raw[_NONCE:], _associated(told))
        except (InvalidTag, ValueError):
            raise RefusedError(400, "cipher: message authentication failed") from None
        return {"plaintext": b64encode(plaintext).decode()}


class Vault:
    """The server; `url` and `token` are what a client needs, `calls` counts the operations."""

    def __init__(self, *, mount: str = "transit", namespace: str = "") -> None:
        self.token = f"hvs.{secrets.token_urlsafe(24)}"
        self.keys: dict[str, TransitKey] = {}
        self.calls: Counter[str] = Counter()
        self.sealed = False
        self._mount = mount
        self._namespace = namespace
        self._speaking = threading.Event()
        self._speaking.set()
        vault = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                vault._speaking.wait()
                try:
                    status, content = 200, vault._decide(self.command, self.path, dict(self.headers.items()), body)
                except RefusedError as refusal:
                    status, content = refusal.status, {"errors": refusal.errors}
                with contextlib.suppress(ConnectionError):  # whoever asked may have been killed
                    self._send(status, json.dumps(content).encode())

            def _send(self, status: int, answer: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def silence(self) -> None:
        """Take requests from now on without answering."""
        self._speaking.clear()

    def speak(self) -> None:
        """Answer again."""
        self._speaking.set()

    def write_token(self, path: Path) -> Path:
        """Write the token as an agent would; return the file."""
        path.write_text(self.token + "\n", encoding="utf-8")
        return path

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._speaking.set()
        self._server.shutdown()
        self._server.server_close()

    def _decide(self, method: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
        """Return the answer to a request."""
        if self.sealed:
            raise RefusedError(503, "Vault is sealed")
        told = {name.lower(): value for name, value in headers.items()}
        if told.get("x-vault-token") != self.token or told.get("x-vault-namespace", "") != self._namespace:
            raise RefusedError(403, "permission denied")
        parts = path.removeprefix(f"/v1/{self._mount}/").split("/")
        if not path.startswith(f"/v1/{self._mount}/"):
            raise RefusedError(404)
        data = self._transit(method, parts, json.loads(body) if body else {})
        return {
            "request_id": secrets.token_hex(16),
            "lease_id": "",
            "renewable": False,
            "lease_duration": 0,
            "data": data,
            "wrap_info": None,
            "warnings": None,
            "auth": None,
            "mount_type": "transit",
        }

    def _transit(self, method: str, parts: list[str], told: dict[str, Any]) -> dict[str, Any] | None:
        match method, parts:
            case "GET", ["keys", name]:
                self.calls["read"] += 1
                if name not in self.keys:
                    raise RefusedError(404)
                return self.keys[name].described(name)
            case (("POST" | "PUT"), ["keys", name]):
                return self.keys.setdefault(name, TransitKey()).described(name)
            case (("POST" | "PUT"), ["keys", name, "rotate"]):
                self._key(name).rotate()
                return self.keys[name].described(name)
            case (("POST" | "PUT"), ["keys", name, "config"]):
                self._key(name).min_decryption_version = int(told["min_decryption_version"])
                return self.keys[name].described(name)
            case (("POST" | "PUT"), ["encrypt", name]):
                self.calls["encrypt"] += 1
                return self._key(name).encrypt(told)
            case (("POST" | "PUT"), ["decrypt", name]):
                self.calls["decrypt"] += 1
                return self._key(name).decrypt(told)
        raise RefusedError(405, "unsupported operation")

    def _key(self, name: str) -> TransitKey:
        if name not in self.keys:
            raise RefusedError(400, "encryption key not found")
        return self.keys[name]


def _bytes(told: dict[str, Any], name: str, error: str) -> bytes:
    try:
        return b64decode(told[name], validate=True)
    except (KeyError, ValueError, TypeError):
        raise RefusedError(400, error) from None


def _associated(told: dict[str, Any]) -> bytes | None:
    return (
        _bytes(told, "associated_data", "failed to base64-decode associated_data")
        if "associated_data" in told
        else None
    )
