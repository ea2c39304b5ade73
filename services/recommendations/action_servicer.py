"""`rapport.recommendations.v1`, policies of actions and recommendations: messages in, one call, messages out."""

import grpc
from google.protobuf import json_format
from rapport.recommendations.v1 import (
    action_policy_pb2,
    action_policy_service_pb2,
    action_policy_service_pb2_grpc,
    recommendation_pb2,
    recommendation_service_pb2,
    recommendation_service_pb2_grpc,
)

from servicekit.database import Database
from servicekit.identity import caller, caller_tenant
from servicekit.pages import PageTokens, page_size
from servicekit.server import Registration
from servicekit.timestamps import moment, timestamp
from services.recommendations import action_desk, attribution
from services.recommendations.action_desk import ActionDesk, Compared, Shown
from services.recommendations.action_policy import ActionPolicy
from services.recommendations.advising import Advising
from services.recommendations.catalogue import ENTRIES
from services.recommendations.conversations import Conversations
from services.recommendations.customers import Clock, Customers, utc_now
from services.recommendations.entry import Entry
from services.recommendations.outcomes import Outcomes, Told
from services.recommendations.reporting import Line, Share
from services.recommendations.service import Context
from services.recommendations.situations import Situations

_PREVIEWED, _MOST_PREVIEWED = 50, 200

_KINDS = recommendation_service_pb2.RecommendationEvent
_VALUES = {
    _KINDS.KIND_SHOWN: attribution.SHOWN,
    _KINDS.KIND_ACCEPTED: attribution.ACCEPTED,
    _KINDS.KIND_EDITED: attribution.EDITED,
    _KINDS.KIND_REJECTED: attribution.REJECTED,
}
_OUTCOMES = {
    _KINDS.OUTCOME_RESOLVED: attribution.RESOLVED,
    _KINDS.OUTCOME_UNRESOLVED: attribution.UNRESOLVED,
    _KINDS.OUTCOME_RETURNED: attribution.RETURNED,
    _KINDS.OUTCOME_LOST: attribution.LOST,
}


def registrations(
    database: Database, customers: Customers, tickets: grpc.aio.Channel, tokens: PageTokens, clock: Clock = utc_now
) -> tuple[Registration]:
    """Return the servicer of policies."""
    situations = Situations(database, customers, Conversations(tickets))
    servicer = ActionPolicyServicer(ActionDesk(database, situations, clock), tokens)
    return (Registration(action_policy_service_pb2_grpc.add_ActionPolicyServiceServicer_to_server, servicer),)


class ActionPolicyServicer(action_policy_service_pb2_grpc.ActionPolicyServiceServicer):
    """`rapport.recommendations.v1.ActionPolicyService`."""

    def __init__(self, desk: ActionDesk, tokens: PageTokens) -> None:
        self._desk = desk
        self._tokens = tokens

    async def GetActionPolicy(
        self, request: action_policy_service_pb2.GetActionPolicyRequest, _context: Context
    ) -> action_policy_pb2.ActionPolicy:
        """Return a version of the policy."""
        return _policy(await self._desk.get(caller_tenant(), request.version))

    async def ListActionPolicyVersions(
        self, request: action_policy_service_pb2.ListActionPolicyVersionsRequest, _context: Context
    ) -> action_policy_service_pb2.ListActionPolicyVersionsResponse:
        """List the versions, newest first."""
        scope, size = (caller_tenant(), "action_policies"), page_size(request.page_size)
        before = self._tokens.open(request.page_token, scope=scope)["version"] if request.page_token else None
        found = await self._desk.versions(caller_tenant(), before, size + 1)
        token = ""
        if len(found) > size:
            token = self._tokens.seal({"version": found[size - 1].version.policy.version}, scope=scope)
        return action_policy_service_pb2.ListActionPolicyVersionsResponse(
            action_policies=[_policy(shown) for shown in found[:size]], next_page_token=token
        )

    async def CheckActionPolicy(
        self, request: action_policy_service_pb2.CheckActionPolicyRequest, _context: Context
    ) -> action_policy_service_pb2.CheckActionPolicyResponse:
        """Tell what is wrong with a file."""
        return action_policy_service_pb2.CheckActionPolicyResponse(
            problems=[
                action_policy_service_pb2.PolicyProblem(
                    line=problem.line, field=problem.field, description=problem.text
                )
                for problem in await self._desk.check(request.document)
            ]
        )

    async def SetActionPolicy(
        self, request: action_policy_service_pb2.SetActionPolicyRequest, _context: Context
    ) -> action_policy_pb2.ActionPolicy:
        """Make a new version."""
        return _policy(
            await self._desk.set(
                caller_tenant(),
                caller().subject,
                request.document,
                request.etag,
                request.reason,
            )
        )

    async def RollbackActionPolicy(
        self, request: action_policy_service_pb2.RollbackActionPolicyRequest, _context: Context
    ) -> action_policy_pb2.ActionPolicy:
        """Go back to an earlier version."""
        return _policy(
            await self._desk.roll_back(caller_tenant(), caller().subject, request.version, request.etag, request.reason)
        )

    async def PreviewActionPolicy(
        self, request: action_policy_service_pb2.PreviewActionPolicyRequest, _context: Context
    ) -> action_policy_service_pb2.PreviewActionPolicyResponse:
        """Show what a policy would recommend."""
        size = min(request.size or _PREVIEWED, _MOST_PREVIEWED)
        found = await self._desk.preview(caller_tenant(), request.document, request.version, size)
        now = action_desk.uses(one.now for one in found.tickets)
        new = action_desk.uses(one.new for one in found.tickets)
        counts = {code: (now.get(code, _UNUSED), new.get(code, _UNUSED)) for code in {*now, *new}}
        return action_policy_service_pb2.PreviewActionPolicyResponse(
            tickets=[_compared(one) for one in found.tickets],
            changed_count=sum(one.changed for one in found.tickets),
            skipped_count=found.skipped,
            actions=[
                action_policy_service_pb2.PreviewedAction(
                    action=code,
                    count=before.count,
                    new_count=after.count,
                    amounts=before.amounts,
                    new_amounts=after.amounts,
                )
                for code, (before, after) in sorted(
                    counts.items(), key=lambda item: (-abs(item[1][0].count - item[1][1].count), item[0])
                )
            ],
        )


_UNUSED = action_desk.Use(0, ())


class RecommendationServicer(recommendation_service_pb2_grpc.RecommendationServiceServicer):
    """`rapport.recommendations.v1.RecommendationService`."""

    def __init__(self, advising: Advising, outcomes: Outcomes) -> None:
        self._advising = advising
        self._outcomes = outcomes

    async def GetRecommendation(
        self, request: recommendation_service_pb2.GetRecommendationRequest, _context: Context
    ) -> recommendation_pb2.Recommendation:
        """Return the current recommendation."""
        found = await self._advising.recommendation(caller_tenant(), request.ticket)
        return json_format.ParseDict(found, recommendation_pb2.Recommendation(), ignore_unknown_fields=True)

    async def RecordRecommendationEvents(
        self, request: recommendation_service_pb2.RecordRecommendationEventsRequest, _context: Context
    ) -> recommendation_service_pb2.RecordRecommendationEventsResponse:
        """Take down what became of recommendations."""
        recorded = await self._outcomes.record(caller_tenant(), [_told(event) for event in request.events])
        return recommendation_service_pb2.RecordRecommendationEventsResponse(recorded_count=recorded)

    async def GetRecommendationReport(
        self, request: recommendation_service_pb2.GetRecommendationReportRequest, _context: Context
    ) -> recommendation_service_pb2.RecommendationReport:
        """Report what became of the recommendations of a time."""
        since = moment(request, "since")
        until = moment(request, "until")
        report = await self._outcomes.report(caller_tenant(), since, until, request.policy_version)
        return recommendation_service_pb2.RecommendationReport(
            lines=[_line(line) for line in report.lines],
            since=timestamp(report.since),
            until=timestamp(report.until),
        )


def _policy(shown: Shown) -> action_policy_pb2.ActionPolicy:
    version, policy = shown.version, shown.version.policy
    return action_policy_pb2.ActionPolicy(
        version=policy.version,
        document=version.document,
        active=shown.active,
        currency_code=policy.currency,
        actions=[_rule(entry, policy) for entry in ENTRIES],
        principal=version.principal,
        reason=version.reason,
        create_time=timestamp(version.create_time),
        etag=shown.etag,
    )


def _rule(entry: Entry, policy: ActionPolicy) -> action_policy_pb2.ActionRule:
    rule = policy.rule(entry.code)
    return action_policy_pb2.ActionRule(
        action=entry.code,
        enabled=rule.enabled,
        effect=entry.effect if rule.effect is None else rule.effect,
        minutes=entry.minutes if rule.minutes is None else rule.minutes,
        gives=entry.gives,
        intents=sorted(entry.intents),
    )


def _compared(one: Compared) -> action_policy_service_pb2.PreviewedTicket:
    return action_policy_service_pb2.PreviewedTicket(
        ticket_id=str(one.ticket_id),
        priority=one.now.priority,
        new_priority=one.new.priority,
        actions=[action.code for action in one.now.actions],
        new_actions=[action.code for action in one.new.actions],
        changed=one.changed,
    )


def _told(event: recommendation_service_pb2.RecommendationEvent) -> Told:
    """Return what an event tells; an outcome without its kind, or the other way round, tells nothing."""
    value = _VALUES.get(event.kind, "") if not event.outcome else ""
    if event.kind == _KINDS.KIND_OUTCOME:
        value = _OUTCOMES.get(event.outcome, "")
    when = moment(event, "event_time")
    return Told(event.attribution_token, value, event.action, when, event.amount)


def _line(line: Line) -> recommendation_service_pb2.RecommendationReportLine:
    return recommendation_service_pb2.RecommendationReportLine(
        action=line.action,
        policy_version=line.policy_version,
        made_count=line.made,
        shown_count=line.shown,
        accepted_count=line.accepted,
        edited_count=line.edited,
        rejected_count=line.rejected,
        acceptance=_share(line.acceptance),
        resolved=_share(line.settled),
        returned=_share(line.bought_again),
    )


def _share(share: Share | None) -> recommendation_service_pb2.Share | None:
    if share is None:
        return None
    return recommendation_service_pb2.Share(value=share.value, low=share.low, high=share.high, count=share.count)
