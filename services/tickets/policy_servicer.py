"""`rapport.tickets.v1.PolicyService`: messages in, one call, messages out; decides nothing."""

import math

from rapport.tickets.v1 import policy_pb2, policy_service_pb2, policy_service_pb2_grpc

from servicekit.identity import caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.timestamps import timestamp
from services.tickets import resources
from services.tickets.comparing import Comparison
from services.tickets.explaining import Explaining
from services.tickets.policies import Edit, Policy
from services.tickets.policy_desk import PolicyDesk, Shown
from services.tickets.service import Context, present_caller

_STATES = {
    "active": policy_pb2.Policy.STATE_ACTIVE,
    "building": policy_pb2.Policy.STATE_BUILDING,
    "retired": policy_pb2.Policy.STATE_RETIRED,
}
_PREVIEWED, _MOST_PREVIEWED = 20, 200


class PolicyServicer(policy_service_pb2_grpc.PolicyServiceServicer):
    """`rapport.tickets.v1.PolicyService`."""

    def __init__(self, desk: PolicyDesk, explaining: Explaining, tokens: PageTokens) -> None:
        self._desk = desk
        self._explaining = explaining
        self._tokens = tokens

    async def GetPolicy(self, request: policy_service_pb2.GetPolicyRequest, _context: Context) -> policy_pb2.Policy:
        """Return a version of the policy."""
        return _policy(await self._desk.get(present_caller(), request.version))

    async def ListPolicies(
        self, request: policy_service_pb2.ListPoliciesRequest, _context: Context
    ) -> policy_service_pb2.ListPoliciesResponse:
        """List the versions, newest first."""
        scope, size = (caller_tenant(), "policies"), page_size(request.page_size)
        before = self._tokens.open(request.page_token, scope=scope)["version"] if request.page_token else None
        found = await self._desk.list(present_caller(), before, size + 1)
        token = ""
        if len(found) > size:
            token = self._tokens.seal({"version": found[size - 1].version.policy.version}, scope=scope)
        return policy_service_pb2.ListPoliciesResponse(
            policies=[_policy(shown) for shown in found[:size]], next_page_token=token
        )

    async def SetPolicy(self, request: policy_service_pb2.SetPolicyRequest, _context: Context) -> policy_pb2.Policy:
        """Make a new version."""
        made = await self._desk.change(present_caller(), _edit(request.policy), request.etag, request.reason)
        return _policy(made)

    async def RollbackPolicy(
        self, request: policy_service_pb2.RollbackPolicyRequest, _context: Context
    ) -> policy_pb2.Policy:
        """Go back to an earlier version."""
        return _policy(await self._desk.roll_back(present_caller(), request.version, request.etag, request.reason))

    async def PreviewPolicy(
        self, request: policy_service_pb2.PreviewPolicyRequest, _context: Context
    ) -> policy_service_pb2.PreviewPolicyResponse:
        """Show the head of the inbox as it would be."""
        size = min(request.size or _PREVIEWED, _MOST_PREVIEWED)
        preview = await self._explaining.preview(present_caller(), _edit(request.policy), size)
        return policy_service_pb2.PreviewPolicyResponse(
            places=[
                policy_service_pb2.PreviewedPlace(
                    ticket_id=str(one.ticket_id),
                    ticket_number=one.number,
                    place=one.place,
                    new_place=one.new_place,
                    reasons=one.reasons,
                )
                for one in preview.places
            ],
            ranked_count=preview.ranked,
            moved_count=preview.moved,
        )

    async def ComparePlaces(
        self, request: policy_service_pb2.ComparePlacesRequest, _context: Context
    ) -> policy_service_pb2.Comparison:
        """Say why one ticket stands above another."""
        return _comparison(*await self._explaining.compare(present_caller(), request.ticket, request.other))


def _edit(given: policy_service_pb2.PolicyEdit) -> Edit:
    return Edit(
        given.name,
        dict(given.weights),
        given.gamma if given.HasField("gamma") else None,
        given.sla_share if given.HasField("sla_share") else None,
    )


def _policy(shown: Shown) -> policy_pb2.Policy:
    version, policy = shown.version, shown.version.policy
    return policy_pb2.Policy(
        version=policy.version,
        name=policy.name,
        weights=policy.weights.by_name(),
        gamma=policy.gamma,
        sla_share=policy.sla_share,
        bound_hours=policy.bound_hours if math.isfinite(policy.bound_hours) else 0.0,
        time_zone=policy.calendar.time_zone,
        always_open=policy.calendar.always_open,
        handling_times=[
            policy_pb2.HandlingTime(intent=intent, minutes=learned.minutes, tickets=learned.tickets)
            for intent, learned in sorted(policy.handling.items())
        ],
        state=_STATES[shown.state],
        principal=version.principal,
        reason=version.reason,
        create_time=timestamp(version.create_time),
        etag=shown.etag,
    )


def _comparison(comparison: Comparison, policy: Policy) -> policy_service_pb2.Comparison:
    return policy_service_pb2.Comparison(
        above=comparison.above,
        below=comparison.below,
        sentence=comparison.sentence,
        lead_micros=comparison.lead,
        differences=[
            policy_service_pb2.PartDifference(
                name=each.name,
                micros=each.micros,
                above=resources.score_part(each.above) if each.above else None,
                below=resources.score_part(each.below) if each.below else None,
            )
            for each in comparison.differences
        ],
        tier_decides=comparison.tier_decides,
        policy=policy.label,
    )
