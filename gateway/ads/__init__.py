"""A small, complete control plane for Envoy: state-of-the-world ADS over grpc.aio.

Read in this order: `resources` (what is served), `snapshot` (a consistent whole of it), `session` (the protocol of one
stream, without any I/O), `cache` (what is current, and what every Envoy said about it), `server` (the gRPC method).
Nothing here knows what the resources are for.
"""
