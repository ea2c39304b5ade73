"""How many requests per minute a tenant, a key, a webhook or a client without a credential may send.

Envoy keeps token buckets itself, one for each tenant, made when the tenant first comes along: nobody is asked per
request and no resource exists per tenant. The quota stands in the token (claims `quota` and `key_quota`, requests per
minute) and becomes a *price*: all buckets are alike, they fill by `FILL` a second, and a request of a tenant with a
quota of q costs as much as fills in 60/q seconds. So every number is exact, and a changed quota counts with the next
token. See docs/adr/0007-prices-for-quotas.md.
"""

from collections.abc import Sequence
from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    RuntimeFractionalPercent,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValueOptionHeaderAppendAction as _Action,
)
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimit,
    RateLimitAction,
    RateLimitActionMaskedRemoteAddress,
    RateLimitActionMetaData,
    RateLimitActionMetaDataSource,
    RateLimitHitsAddend,
)
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import (
    LocalRateLimitDescriptor,
    RateLimitDescriptorEntry,
    XRateLimitHeadersRfcVersion,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.rate_limit_descriptors.expr import v3 as expr
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKey, MetadataKeyPathSegment
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType, TokenBucket
from envoy_data_plane.google.protobuf import Any

from gateway.edge.quotas import Rates
from servicekit.quotas import BURST_SECONDS, FILL, KEY_POLICY, KEY_PRICE, LEAST_QUOTA, TENANT_POLICY, policy

PAYLOAD = "payload"
"""The name under which the check of tokens leaves a token's claims for the filters behind it."""

TENANT_BUCKET = FILL * BURST_SECONDS
# By its size the answer's headers tell whose bucket it was; it must fill no faster, because the slowest is asked first,
# and a key that is over its quota must not spend its tenant's.
KEY_BUCKET = TENANT_BUCKET - 1

MOST_CALLERS = 20_000
"""How many buckets of each sort are kept; beyond it the one that was not used longest is forgotten, and so is full."""

_POLICY = "ratelimit-policy"
_JWT_AUTHN = "envoy.filters.http.jwt_authn"
_CLAIMS = f"metadata.filter_metadata['{_JWT_AUTHN}'].{PAYLOAD}"
_REMAINING = "response.headers['x-ratelimit-remaining']"
_BUCKET = "response.headers['x-ratelimit-limit']"


def tenants_and_keys(rates: Rates) -> LocalRateLimit:
    """Return the limit of requests with a token: by its tenant, and by its key where that has a quota of its own.

    Tokens without a tenant (operators, the suite's own services) share one bucket.
    """
    limit = _limit("tenant")
    limit.enable_x_ratelimit_headers = XRateLimitHeadersRfcVersion.DRAFT_VERSION_03
    limit.descriptors = [
        _any_of("tenant", TokenBucket(max_tokens=TENANT_BUCKET, tokens_per_fill=FILL, fill_interval=_SECOND)),
        _any_of("key", TokenBucket(max_tokens=KEY_BUCKET, tokens_per_fill=FILL - 1, fill_interval=_SECOND)),
    ]
    limit.rate_limits = [
        RateLimit(actions=[_claim("tenant", "tid", default="none")], hits_addend=_price(_tenant_quota(rates))),
        # A key without a quota has no price, and Envoy leaves out what has none.
        RateLimit(actions=[_claim("key", "key")], hits_addend=RateLimitHitsAddend(format=_said(KEY_PRICE))),
    ]
    quota = f"has({_CLAIMS}.key_quota) ? {_least(_key_quota(), _tenant_quota(rates))} : {_tenant_quota(rates)}"
    limit.response_headers_to_add = [_retry_after(f"%CEL(int(59.999 / ({quota})) + 1)%")]
    return limit


def webhooks(rates: Rates) -> LocalRateLimit:
    """Return the limit of one webhook address. The address is known to the bucket only: no statistic or log has it."""
    limit = _limit("webhook")
    # The package hides this class from type checkers behind another of the same name.
    path = vars(expr)["Descriptor"](descriptor_key="path", text="request.url_path")
    action = RateLimitAction(
        extension=TypedExtensionConfig(name="envoy.rate_limit_descriptors.expr", typed_config=Any.pack(path))
    )
    return _counted(limit, "path", action, rates.webhook)


def webhook_clients(rates: Rates) -> LocalRateLimit:
    """Return the limit of a client address at webhook addresses, all together: each invented one has its own bucket.

    It is generous, because a vendor sends everybody's webhooks from few addresses.
    """
    return _by_client("webhook_client", rates.webhook_client)


def strangers(rates: Rates) -> LocalRateLimit:
    """Return the limit of a client address at methods that ask for no credential, such as the token endpoint."""
    return _by_client("stranger", rates.stranger)


def headers(rates: Rates) -> HeaderMutation:
    """Return the standard headers of draft-ietf-httpapi-ratelimit-headers, made of those that Envoy has.

    `RateLimit-Policy: "tenant";w=10;q=100` is a burst and the seconds in which it comes back; `RateLimit:
    "tenant";r=97;t=1` is what is left of it, and the seconds until it is whole again. An answer that no bucket was
    asked for has none of them: each part is empty then, and an empty header is not added.
    """
    tenant, key = f"({_tenant_quota(rates)})", f"({_key_quota()})"
    by_key = f"{_BUCKET} == '{KEY_BUCKET}'"
    known = "'x-ratelimit-remaining' in response.headers"
    quota = f"({by_key} ? {key} : {tenant})"
    left = [
        f"""{by_key} ? '"key";r=' : '"tenant";r='""",
        f"int(double({_REMAINING}) * {quota} / {FILL * 60}.0)",
        f"{known} ? ';t=' : ''",
        f"({TENANT_BUCKET} - int({_REMAINING}) + {FILL - 1}) / {FILL}",
    ]
    default = policy("tenant", rates.tenant)
    return HeaderMutation(
        mutations=Mutations(
            response_mutations=[
                # What the token says needs no expression; only who has no quota of its own gets the deployment's.
                Mutation(append=_header(_POLICY, _said(TENANT_POLICY))),
                Mutation(append=_header(_POLICY, _cel([f"{known} ? '{default}' : ''"]), _Action.ADD_IF_ABSENT)),
                Mutation(append=_header(_POLICY, _said(KEY_POLICY), _Action.APPEND_IF_EXISTS_OR_ADD)),
                Mutation(append=_header("ratelimit", _cel(left))),
                *(Mutation(remove=f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")),
            ]
        )
    )


_SECOND = timedelta(seconds=1)


def _limit(name: str) -> LocalRateLimit:
    return LocalRateLimit(
        stat_prefix=name,
        # What no descriptor names is not limited here; Envoy wants a bucket for it all the same.
        token_bucket=TokenBucket(max_tokens=2**32 - 1, tokens_per_fill=2**32 - 1, fill_interval=_SECOND),
        always_consume_default_token_bucket=False,
        filter_enabled=_always(),
        filter_enforced=_always(),
        rate_limited_as_resource_exhausted=True,
        max_dynamic_descriptors=MOST_CALLERS,
    )


def _counted(limit: LocalRateLimit, key: str, action: RateLimitAction, per_minute: int) -> LocalRateLimit:
    burst = max(1, per_minute * BURST_SECONDS // 60)
    # Envoy fills buckets steadily: the interval only says how fast.
    bucket = TokenBucket(max_tokens=burst, tokens_per_fill=per_minute, fill_interval=timedelta(minutes=1))
    limit.descriptors = [_any_of(key, bucket)]
    limit.rate_limits = [RateLimit(actions=[action])]
    limit.response_headers_to_add = [_retry_after(str(max(1, -(-60 // per_minute))))]
    return limit


def _by_client(name: str, per_minute: int) -> LocalRateLimit:
    # A household or a server has a whole /64 of IPv6.
    address = RateLimitActionMaskedRemoteAddress(v4_prefix_mask_len=32, v6_prefix_mask_len=64)
    action = RateLimitAction(masked_remote_address=address)
    return _counted(_limit(name), "masked_remote_address", action, per_minute)


def _any_of(key: str, bucket: TokenBucket) -> LocalRateLimitDescriptor:
    # An entry without a value stands for any: each value that comes gets a bucket of its own.
    return LocalRateLimitDescriptor(entries=[RateLimitDescriptorEntry(key=key)], token_bucket=bucket)


def _claim(key: str, claim: str, *, default: str = "") -> RateLimitAction:
    path = [MetadataKeyPathSegment(key=name) for name in (PAYLOAD, claim)]
    return RateLimitAction(
        metadata=RateLimitActionMetaData(
            descriptor_key=key,
            metadata_key=MetadataKey(key=_JWT_AUTHN, path=path),
            default_value=default,
            source=RateLimitActionMetaDataSource.DYNAMIC,
        )
    )


def _tenant_quota(rates: Rates) -> str:
    quota = f"{_CLAIMS}.quota"
    return f"(has({quota}) ? {_most(quota, LEAST_QUOTA)} : {max(rates.tenant, LEAST_QUOTA)}.0)"


def _key_quota() -> str:
    return _most(f"{_CLAIMS}.key_quota", LEAST_QUOTA)


def _most(expression: str, other: int) -> str:
    return f"({expression} > {other}.0 ? {expression} : {other}.0)"


def _least(one: str, other: str) -> str:
    return f"({one} < {other} ? {one} : {other})"


def _price(quota: str) -> RateLimitHitsAddend:
    return RateLimitHitsAddend(format=f"%CEL(int({FILL * 60}.0 / {quota}))%")


def _cel(parts: Sequence[str]) -> str:
    return "".join(f"%CEL({part})%" for part in parts)


def _said(claim: str) -> str:
    return f"%DYNAMIC_METADATA({_JWT_AUTHN}:{PAYLOAD}:{claim})%"


def _retry_after(value: str) -> HeaderValueOption:
    return _header("retry-after", value)


def _header(name: str, value: str, action: _Action = _Action.OVERWRITE_IF_EXISTS_OR_ADD) -> HeaderValueOption:
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def _always() -> RuntimeFractionalPercent:
    return RuntimeFractionalPercent(
        default_value=FractionalPercent(numerator=100, denominator=FractionalPercentDenominatorType.HUNDRED)
    )
