"""`DiagnosisService`, the same in every service: each process says how it is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rapport.diagnosis.v1 import diagnosis_service_pb2 as pb
from rapport.diagnosis.v1 import diagnosis_service_pb2_grpc as rpc

from servicekit.diagnosis import Examination, Finding, examine
from servicekit.server import Registration
from servicekit.timestamps import timestamp


class DiagnosisServicer(rpc.DiagnosisServiceServicer):
    """Implements `rapport.diagnosis.v1.DiagnosisService`."""

    def __init__(self, service: str, examinations: Mapping[str, Examination]) -> None:
        self._service = service
        self._examinations = examinations

    async def GetDiagnosis(self, _request: pb.GetDiagnosisRequest, _context: Any) -> pb.Diagnosis:
        """Examine the process."""
        findings = [_message(finding) for finding in await examine(self._examinations)]
        return pb.Diagnosis(service=self._service, time=timestamp(datetime.now(UTC)), findings=findings)


def registration(service: str, examinations: Mapping[str, Examination]) -> Registration:
    """Return the servicer as the server takes it."""
    return Registration(rpc.add_DiagnosisServiceServicer_to_server, DiagnosisServicer(service, examinations))


def _message(finding: Finding) -> pb.Finding:
    return pb.Finding(
        check=finding.check,
        state=finding.state.value,
        summary=finding.summary,
        remedy=finding.remedy,
        evidence=dict(finding.evidence),
    )
