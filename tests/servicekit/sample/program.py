"""A service process with one servicer, as a `__main__` has it; started by the tests of the command."""

from pydantic_settings import SettingsConfigDict

from servicekit import command
from servicekit.server import serve
from servicekit.settings import ServiceSettings
from tests.servicekit.probe import echo, registration
from tests.support.tokens import Issuer
from tests.support.trail import kept_trail


class Settings(ServiceSettings):
    """The settings of the sample."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_SAMPLE_", frozen=True, extra="ignore", env_ignore_empty=True)


async def main(settings: Settings) -> None:
    """Serve."""
    await serve(settings, "sample", [registration(echo)], trust=Issuer().trust, audit=kept_trail()[0])


if __name__ == "__main__":
    command.run("tests.servicekit.sample.tickets", Settings, main)
