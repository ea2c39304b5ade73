"""Compression of answers: JSON and pages of some length, for clients that take it; no gRPC and no streams.

An answer with an etag stays as it is, since its strong etag names these very bytes (RFC 9110, 8.8.1); such answers are
single things and short. The few answers that hold a secret are shorter than what is compressed.
"""

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.extensions.compression.brotli.compressor.v3 import Brotli
from envoy_data_plane.envoy.extensions.compression.gzip.compressor.v3 import Gzip, GzipCompressionLevel
from envoy_data_plane.envoy.extensions.filters.http.compressor.v3 import (
    Compressor,
    CompressorCommonDirectionConfig,
    CompressorResponseDirectionConfig,
)
from envoy_data_plane.google.protobuf import Any

BROTLI = "compression.brotli"
GZIP = "compression.gzip"
FILTERS = (BROTLI, GZIP)
"""The filters, of which a client's `accept-encoding` chooses one."""

SHORTEST = 1024
"""Bytes below which an answer is left alone: it fits into one packet anyway."""

CONTENT_TYPES = ("application/json", "application/problem+json", "text/html", "text/plain")


def brotli() -> Compressor:
    """Return the compression that is preferred where a client takes both: smaller, at the same cost."""
    # Beyond 4 the answers get slower much faster than they get smaller.
    return _compressor(BROTLI, Brotli(quality=4), first=True)


def gzip() -> Compressor:
    """Return the compression that every client knows."""
    return _compressor(GZIP, Gzip(compression_level=GzipCompressionLevel.COMPRESSION_LEVEL_4, memory_level=8))


def _compressor(name: str, library: betterproto2.Message, *, first: bool = False) -> Compressor:
    return Compressor(
        compressor_library=TypedExtensionConfig(name=name, typed_config=Any.pack(library)),
        choose_first=first,
        response_direction_config=CompressorResponseDirectionConfig(
            common_config=CompressorCommonDirectionConfig(
                min_content_length=SHORTEST, content_type=list(CONTENT_TYPES)
            ),
            disable_on_etag_header=True,
        ),
    )
