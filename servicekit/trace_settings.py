"""The settings by which a process records traces; services and gateway alike have them."""

from pydantic import Field, field_validator

from servicekit.environment import EnvironmentSettings
from servicekit.tracing import Recording


class TraceSettings(EnvironmentSettings):
    """Where traces go, and how many of them."""

    otlp_target: str = ""
    """The address `host:port` of an OpenTelemetry collector that takes OTLP over gRPC, in clear: one on the same
    machine or in a network that is guarded. Empty means that no trace is recorded."""

    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """The part of all traces that is recorded, where nobody before this process has decided about that."""

    @field_validator("otlp_target")
    @classmethod
    def _is_address(cls, text: str) -> str:
        host, _, port = text.rpartition(":")
        if text and not (host and port.isascii() and port.isdigit() and "/" not in host):
            raise ValueError("must be host:port")
        return text

    def recording(self) -> Recording | None:
        """Return how traces are recorded, None where they are not."""
        return Recording(self.otlp_target, self.trace_ratio) if self.otlp_target else None
