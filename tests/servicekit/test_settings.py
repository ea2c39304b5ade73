"""Settings: from the environment, frozen, and silent about secrets."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from servicekit.settings import ServiceSettings


class SampleSettings(ServiceSettings):
    """The settings of a service."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_SAMPLE_", frozen=True, extra="ignore", env_ignore_empty=True)


def test_settings_come_from_the_environment_and_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefixed variable is a field; secrets do not show in the text of the settings."""
    monkeypatch.setenv("RAPPORT_SAMPLE_LISTEN", "127.0.0.1:7001")
    monkeypatch.setenv("RAPPORT_SAMPLE_DATABASE_URL", "postgresql://app:hidden@db/rapport")
    settings = SampleSettings()
    assert settings.listen == "127.0.0.1:7001"
    assert settings.database_url.get_secret_value().startswith("postgresql://app:hidden@")
    assert "hidden" not in repr(settings)
    with pytest.raises(ValidationError):
        settings.listen = "elsewhere"


def test_the_workload_secret_is_given_or_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable wins; the file's line ending does not count; neither is an error in plain words."""
    with pytest.raises(ValueError, match="WORKLOAD_SECRET"):
        SampleSettings().workload_credential()
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    monkeypatch.setenv("RAPPORT_SAMPLE_WORKLOAD_SECRET_FILE", str(file))
    assert SampleSettings().workload_credential() == "from the file"
    monkeypatch.setenv("RAPPORT_SAMPLE_WORKLOAD_SECRET", "given")
    assert SampleSettings().workload_credential() == "given"
