"""A small, complete control plane for Envoy: ADS in both variants over grpc.aio. README.md says what it promises.

Read in this order: `resources` (what is served), `snapshot` (a consistent whole of it), `protocol` (what waits for
what), `session` and `delta` (the protocol of one stream, without any I/O), `cache` (what is current, and what every
Envoy said about it), `server` (the gRPC methods). Nothing here knows what the resources are for.
"""
