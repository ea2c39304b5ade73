"""TLS towards clients: which versions and suites, and which certificate for which name.

There are two filter chains. Names whose certificate was dropped by an ACME client (or by hand) are led to the chain
`own_domains`, which fetches the certificate of the name by SDS when the first client asks for it; everything else goes
to `https` with the gateway's own certificate. A new domain changes only the matcher between the two: Envoy takes such
an update in place, without draining a connection of either chain, and unknown names cost nothing.
"""

from collections.abc import Iterable

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket, TypedExtensionConfig
from envoy_data_plane.envoy.config.listener.v3 import ListenerFilter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import ServerNameInput
from envoy_data_plane.envoy.extensions.transport_sockets.tls.cert_mappers.sni.v3 import Sni
from envoy_data_plane.envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3 import (
    Config as OnDemandSecret,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    SdsSecretConfig,
    Secret,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.google.protobuf import Any, StringValue
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherTree,
    MatcherMatcherTreeMatchMap,
    MatcherOnMatch,
)

from gateway.certificates import Certificates, Pair
from gateway.edge import messages

CERTIFICATE = "server"
"""The name of the secret that is the gateway's own certificate."""

HSTS = "hsts"
ANY_NAME = "https"
OWN_DOMAINS = "own_domains"

SUITES = (
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""The suites of TLS 1.2: forward secrecy and authenticated encryption only. All suites of TLS 1.3 are of that kind."""

GROUPS = ("X25519MLKEM768", "X25519", "P-256", "P-384")
"""The key exchanges in the order of preference; the first resists quantum computers too."""

SIGNATURES = (
    "ecdsa_secp256r1_sha256",
    "rsa_pss_rsae_sha256",
    "rsa_pkcs1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha384",
    "rsa_pkcs1_sha384",
    "ecdsa_secp521r1_sha512",
    "rsa_pss_rsae_sha512",
    "rsa_pkcs1_sha512",
)
"""What the server may sign a handshake with: nothing with SHA-1."""


def server_socket() -> TransportSocket:
    """Return TLS with the gateway's own certificate."""
    return _socket(
        CommonTlsContext(
            tls_certificate_sds_secret_configs=[SdsSecretConfig(name=CERTIFICATE, sds_config=messages.ADS)]
        )
    )


def own_domains_socket() -> TransportSocket:
    """Return TLS with the certificate that is the secret by the name that the client asks for."""
    mapper = TypedExtensionConfig(
        name="envoy.tls.certificate_mappers.sni", typed_config=Any.pack(Sni(default_value=CERTIFICATE))
    )
    selector = TypedExtensionConfig(
        name="envoy.tls.certificate_selectors.on_demand_secret",
        typed_config=Any.pack(OnDemandSecret(config_source=messages.ADS, certificate_mapper=mapper)),
    )
    # Envoy 1.40 cannot resume sessions of a certificate that it fetches on demand, and wants that said.
    return _socket(CommonTlsContext(custom_tls_certificate_selector=selector), resumption=False)


def inspector() -> ListenerFilter:
    """Return the filter that reads the name which a client asks for, before a chain is chosen."""
    return ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=Any.pack(TlsInspector()))


def chain_by_name(domains: Iterable[str]) -> Matcher:
    """Return which chain serves which name."""
    otherwise = _chain(ANY_NAME)
    own = {domain: _chain(OWN_DOMAINS) for domain in sorted(domains)}
    if not own:
        return Matcher(on_no_match=otherwise)
    name = XdsExtension(name="envoy.matching.inputs.server_name", typed_config=Any.pack(ServerNameInput()))
    tree = MatcherMatcherTree(input=name, exact_match_map=MatcherMatcherTreeMatchMap(map=own))
    return Matcher(matcher_tree=tree, on_no_match=otherwise)


def secrets(certificates: Certificates) -> list[Secret]:
    """Return all certificates as files, which Envoy reads itself: no key is sent to it."""
    return [
        _secret(CERTIFICATE, certificates.server),
        *(_secret(name, pair) for name, pair in certificates.domains.items()),
    ]


def hsts(max_age: int) -> HttpFilter:
    """Return the filter that tells browsers for how many seconds to come by HTTPS only."""
    header = messages.header("strict-transport-security", f"max-age={max_age}")
    mutations = Mutations(response_mutations=[Mutation(append=header)])
    return HttpFilter(name=HSTS, typed_config=Any.pack(HeaderMutation(mutations=mutations)))


def _socket(common: CommonTlsContext, *, resumption: bool = True) -> TransportSocket:
    common.alpn_protocols = ["h2", "http/1.1"]
    common.tls_params = TlsParameters(
        tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
        tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
        cipher_suites=list(SUITES),
        ecdh_curves=list(GROUPS),
        signature_algorithms=list(SIGNATURES),
    )
    context = DownstreamTlsContext(common_tls_context=common)
    if not resumption:
        context.disable_stateless_session_resumption = True
        context.disable_stateful_session_resumption = True
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _chain(name: str) -> MatcherOnMatch:
    return MatcherOnMatch(action=XdsExtension(name=name, typed_config=Any.pack(StringValue(value=name))))


def _secret(name: str, pair: Pair) -> Secret:
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=DataSource(filename=str(pair.chain)), private_key=DataSource(filename=str(pair.key))
        ),
    )
