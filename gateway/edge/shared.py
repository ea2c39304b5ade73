"""One quota for several Envoys: each keeps to the share that the control plane gives it of a tenant's quota.

This stands behind an Envoy's own buckets (`gateway.edge.rates`), which hold while no share is known.
"""

from datetime import timedelta

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    HeaderValueOption,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.jwt_authn.v3 import JwtClaimToHeader
from envoy_data_plane.envoy.extensions.filters.http.rate_limit_quota.v3 import (
    RateLimitQuotaBucketSettings,
    RateLimitQuotaBucketSettingsBucketIdBuilder,
    RateLimitQuotaBucketSettingsBucketIdBuilderValueBuilder,
    RateLimitQuotaBucketSettingsDenyResponseSettings,
    RateLimitQuotaBucketSettingsExpiredAssignmentBehavior,
    RateLimitQuotaBucketSettingsExpiredAssignmentBehaviorReuseLastAssignment,
    RateLimitQuotaBucketSettingsNoAssignmentBehavior,
    RateLimitQuotaFilterConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import HttpRequestHeaderMatchInput
from envoy_data_plane.envoy.type.v3 import (
    HttpStatus,
    RateLimitStrategy,
    RateLimitStrategyBlanketRule,
    StatusCode,
)
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.google.rpc import Status
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    RegexMatcher,
    RegexMatcherGoogleRe2,
    StringMatcher,
)

CLAIMS = {"x-rapport-tenant": "tid", "x-rapport-quota": "quota"}
"""Headers of a request that carry claims from the check of tokens to this filter, and no further."""

TENANT, QUOTA = CLAIMS
REPORTS = timedelta(seconds=5)
_RESOURCE_EXHAUSTED = 8


def claims() -> list[JwtClaimToHeader]:
    """Return what the check of tokens leaves in headers."""
    return [JwtClaimToHeader(header_name=header, claim_name=claim) for header, claim in CLAIMS.items()]


def shares(control_plane: str) -> RateLimitQuotaFilterConfig:
    """Return the filter; it reports to the named cluster. Requests without a tenant are not limited by it."""
    matchers = [
        MatcherMatcherListFieldMatcher(predicate=_has(header), on_match=_counted(*counted))
        for header, counted in ((QUOTA, (TENANT, QUOTA)), (TENANT, (TENANT,)))
    ]
    return RateLimitQuotaFilterConfig(
        rlqs_server=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=control_plane)),
        domain="rapport",
        bucket_matchers=Matcher(matcher_list=MatcherMatcherList(matchers=matchers)),
    )


def _has(header: str) -> MatcherMatcherListPredicate:
    anything = StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex=".+"))
    single = MatcherMatcherListPredicateSinglePredicate(
        input=_extension("header", _input(header)), value_match=anything
    )
    return MatcherMatcherListPredicate(single_predicate=single)


def _counted(*headers: str) -> MatcherOnMatch:
    """Return the bucket that is named by these headers."""
    value = RateLimitQuotaBucketSettingsBucketIdBuilderValueBuilder
    names = {
        header.removeprefix("x-rapport-"): value(
            custom_value=TypedExtensionConfig(name="header", typed_config=Any.pack(_input(header)))
        )
        for header in headers
    }
    freely = RateLimitStrategy(blanket_rule=RateLimitStrategyBlanketRule.ALLOW_ALL)
    settings = RateLimitQuotaBucketSettings(
        bucket_id_builder=RateLimitQuotaBucketSettingsBucketIdBuilder(bucket_id_builder=names),
        reporting_interval=REPORTS,
        deny_response_settings=RateLimitQuotaBucketSettingsDenyResponseSettings(
            http_status=HttpStatus(code=StatusCode.TooManyRequests),
            grpc_status=Status(code=_RESOURCE_EXHAUSTED, message="Too many requests; try again later."),
            response_headers_to_add=[HeaderValueOption(header=HeaderValue(key="retry-after", value="1"))],
        ),
        no_assignment_behavior=RateLimitQuotaBucketSettingsNoAssignmentBehavior(fallback_rate_limit=freely),
        expired_assignment_behavior=RateLimitQuotaBucketSettingsExpiredAssignmentBehavior(
            expired_assignment_behavior_timeout=timedelta(hours=1),
            reuse_last_assignment=RateLimitQuotaBucketSettingsExpiredAssignmentBehaviorReuseLastAssignment(),
        ),
    )
    return MatcherOnMatch(action=_extension("bucket", settings))


def _input(header: str) -> HttpRequestHeaderMatchInput:
    return HttpRequestHeaderMatchInput(header_name=header)


def _extension(name: str, config: betterproto2.Message) -> XdsExtension:
    return XdsExtension(name=name, typed_config=Any.pack(config))
