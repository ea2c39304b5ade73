"""`rapport.tickets.v1.PolicyReplayService`: messages in, one call, messages out; decides nothing."""

from rapport.tickets.v1 import policy_replay_service_pb2, policy_replay_service_pb2_grpc

from servicekit.timestamps import timestamp
from services.tickets.replaying import Replaying
from services.tickets.service import Context, present_caller
from services.tickets.simulation.replay import Replayed

_DAYS = 30


class PolicyReplayServicer(policy_replay_service_pb2_grpc.PolicyReplayServiceServicer):
    """`rapport.tickets.v1.PolicyReplayService`."""

    def __init__(self, replaying: Replaying) -> None:
        self._replaying = replaying

    async def ReplayPolicies(
        self, request: policy_replay_service_pb2.ReplayPoliciesRequest, _context: Context
    ) -> policy_replay_service_pb2.PolicyReplay:
        """Replay the tenant's past."""
        found = await self._replaying.replay(present_caller(), request.days or _DAYS)
        real = found.outcomes[0].cost if found.outcomes else 0.0
        return policy_replay_service_pb2.PolicyReplay(
            begin_time=timestamp(found.begin),
            questions=found.questions,
            complete=found.complete,
            policy=found.policy.label,
            outcomes=[_outcome(one, real) for one in found.outcomes],
        )


def _outcome(replayed: Replayed, real: float) -> policy_replay_service_pb2.PolicyOutcome:
    return policy_replay_service_pb2.PolicyOutcome(
        name=replayed.name,
        missed=replayed.missed,
        weighted_cost=replayed.cost,
        cost_ratio=replayed.cost / real if real else 1.0,
        waits=[
            policy_replay_service_pb2.PriorityWaits(
                priority=waits.priority,
                questions=waits.questions,
                median_hours=waits.median,
                p95_hours=waits.p95,
                missed=waits.missed,
            )
            for waits in replayed.waits
        ],
    )
