"""What is shown once and has to reach people: new API keys and webhook addresses, in a file for its owner's eyes."""

import json
from pathlib import Path
from typing import Any

from cli.suite.secret_files import write_private


class Handover:
    """A JSON file by shop: the new API key, and of each connection the address that its helpdesk is to call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Any]:
        """Return what it holds."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found if isinstance(found, dict) else {}

    def add_key(self, shop: str, key: str) -> None:
        """Add a shop's key, before anybody says that it was made."""
        content = self.read()
        content.setdefault(shop, {})["api_key"] = key
        self._write(content)

    def has_key(self, shop: str) -> bool:
        """Tell whether it holds a key of a shop."""
        return bool(self.read().get(shop, {}).get("api_key"))

    def add_connection(self, shop: str, connection: str, provider: str, address: str, secret: str) -> None:
        """Add a connection's address, with the webhook secret where Rapport made one."""
        content = self.read()
        told = {"provider": provider, "webhook_url": address}
        if secret:
            told["webhook_secret"] = secret
        content.setdefault(shop, {}).setdefault("connections", {})[connection] = told
        self._write(content)

    def _write(self, content: dict[str, Any]) -> None:
        write_private(self.path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
