"""The gateway: Envoy in front of the services, and the control plane that tells Envoy what to do."""
