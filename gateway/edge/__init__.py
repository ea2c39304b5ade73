"""What Envoy is told: the services' contracts, addresses and keys in, xDS resources out. Nothing here does any I/O."""
