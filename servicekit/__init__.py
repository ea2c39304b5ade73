"""What every service needs that is not its business: identity, storage, server, telemetry."""
