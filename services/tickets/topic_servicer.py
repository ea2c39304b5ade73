"""`rapport.tickets.v1.TopicService`: messages in, one call, messages out."""

from rapport.tickets.v1 import topic_pb2, topic_service_pb2, topic_service_pb2_grpc

from servicekit.timestamps import timestamp
from services.tickets import resources
from services.tickets.service import Context, present_caller
from services.tickets.topic_desk import TopicDesk, etag_of
from services.tickets.topic_store import StoredSpike
from services.tickets.topics import DEFAULT_WEIGHT, TopicAlert, sentence


class TopicServicer(topic_service_pb2_grpc.TopicServiceServicer):
    """Keeps topic alerts and tells which topics spike."""

    def __init__(self, desk: TopicDesk) -> None:
        self._desk = desk

    async def CreateTopicAlert(
        self, request: topic_service_pb2.CreateTopicAlertRequest, _context: Context
    ) -> topic_pb2.TopicAlert:
        """Create an alert."""
        weight = request.weight if request.HasField("weight") else DEFAULT_WEIGHT
        end = resources.moment(request.expire_time) if request.HasField("expire_time") else None
        return _alert(await self._desk.create(present_caller(), request.text, weight, end))

    async def GetTopicAlert(
        self, request: topic_service_pb2.GetTopicAlertRequest, _context: Context
    ) -> topic_pb2.TopicAlert:
        """Return an alert."""
        return _alert(await self._desk.get(present_caller(), request.topic_alert))

    async def ListTopicAlerts(
        self, _request: topic_service_pb2.ListTopicAlertsRequest, _context: Context
    ) -> topic_service_pb2.ListTopicAlertsResponse:
        """List the alerts that are in force."""
        found = await self._desk.alerts(present_caller())
        return topic_service_pb2.ListTopicAlertsResponse(topic_alerts=[_alert(one) for one in found])

    async def UpdateTopicAlert(
        self, request: topic_service_pb2.UpdateTopicAlertRequest, _context: Context
    ) -> topic_pb2.TopicAlert:
        """Change an alert."""
        changed = await self._desk.change(
            present_caller(),
            request.topic_alert,
            request.weight if request.HasField("weight") else None,
            resources.moment(request.expire_time) if request.HasField("expire_time") else None,
            without_end=request.without_end,
            expected=request.etag,
        )
        return _alert(changed)

    async def DeleteTopicAlert(
        self, request: topic_service_pb2.DeleteTopicAlertRequest, _context: Context
    ) -> topic_service_pb2.DeleteTopicAlertResponse:
        """End an alert."""
        await self._desk.delete(present_caller(), request.topic_alert)
        return topic_service_pb2.DeleteTopicAlertResponse()

    async def ListTopicSpikes(
        self, request: topic_service_pb2.ListTopicSpikesRequest, _context: Context
    ) -> topic_service_pb2.ListTopicSpikesResponse:
        """List the topics that spike."""
        found = await self._desk.spikes(present_caller(), lasting_only=request.lasting_only)
        return topic_service_pb2.ListTopicSpikesResponse(topic_spikes=[_spike(one) for one in found])


def _alert(one: TopicAlert) -> topic_pb2.TopicAlert:
    return topic_pb2.TopicAlert(
        id=str(one.id),
        text=one.text,
        weight=one.weight,
        expire_time=timestamp(one.expire_time),
        create_time=timestamp(one.create_time),
        principal=one.principal,
        etag=etag_of(one),
    )


def _spike(one: StoredSpike) -> topic_pb2.TopicSpike:
    return topic_pb2.TopicSpike(
        id=str(one.id),
        text=one.phrase,
        ticket_count=one.ticket_count,
        usual_count=one.usual_count,
        start_time=timestamp(one.start_time),
        notice_time=timestamp(one.notice_time),
        end_time=timestamp(one.end_time),
        sentence=sentence(one.phrase, one.ticket_count, one.usual_count, one.start_time),
    )
