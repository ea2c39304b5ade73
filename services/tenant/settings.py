"""The settings of the tenant service."""

import json
from pathlib import Path

from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings


class TenantSettings(ServiceSettings):
    """What the environment tells the tenant service, `RAPPORT_TENANT_…`."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_TENANT_")

    operator_key_file: Path | None = None
    """A file that holds the operator's key, `rpo_…`; without it no operator can call."""

    workload_secrets_file: Path | None = None
    """A JSON file with the secret of each service by its name; without it no service can get a token."""

    def operator_keys(self) -> dict[str, str]:
        """Return the operators' keys by the operators' names.

        Raises:
            ValueError: the file holds no key.
        """
        if self.operator_key_file is None:
            return {}
        key = self.operator_key_file.read_text(encoding="utf-8").strip()
        if not key:
            raise ValueError("OPERATOR_KEY_FILE holds no key")
        return {"admin": key}

    def workload_secrets(self) -> dict[str, str]:
        """Return the services' secrets by the services' names.

        Raises:
            ValueError: the file is not a JSON object of texts that are not empty.
        """
        if self.workload_secrets_file is None:
            return {}
        secrets = json.loads(self.workload_secrets_file.read_text(encoding="utf-8"))
        if not isinstance(secrets, dict) or not all(isinstance(secret, str) and secret for secret in secrets.values()):
            raise ValueError("WORKLOAD_SECRETS_FILE must be a JSON object of secrets")
        return secrets
