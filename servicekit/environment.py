"""How settings are read, for all processes alike."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class EnvironmentSettings(BaseSettings):
    """What a process is told by its environment: an empty variable is as good as none, and others' are left alone.

    Every class of settings comes from this one: of several bases pydantic takes the last one's configuration whole.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True)
