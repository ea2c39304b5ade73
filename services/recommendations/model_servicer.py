"""The servicer of `rapport.recommendations.v1.ModelService`: message in, one call, message out."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rapport.recommendations.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc

from servicekit.identity import caller_tenant
from servicekit.timestamps import timestamp
from services.recommendations.model_store import Fitting, Version
from services.recommendations.modelling import Modelling
from services.recommendations.service import Context


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """`rapport.recommendations.v1.ModelService`."""

    def __init__(self, modelling: Modelling) -> None:
        self._modelling = modelling

    async def ListModels(
        self, _request: model_service_pb2.ListModelsRequest, _context: Context
    ) -> model_service_pb2.ListModelsResponse:
        """Return all versions."""
        fitting, versions = await self._modelling.versions(caller_tenant())
        models = [_model(one, fitting.served) for one in versions]
        return model_service_pb2.ListModelsResponse(models=models, fitting=_fitting(fitting))

    async def GetModel(self, request: model_service_pb2.GetModelRequest, _context: Context) -> model_pb2.Model:
        """Return a version."""
        fitting, version = await self._modelling.version(caller_tenant(), request.version)
        return _model(version, fitting.served)

    async def FitModel(self, _request: model_service_pb2.FitModelRequest, _context: Context) -> model_pb2.ModelFitting:
        """Let a model be made."""
        return _fitting(await self._modelling.ask_for_fit(caller_tenant()))

    async def RollbackModel(
        self, request: model_service_pb2.RollbackModelRequest, _context: Context
    ) -> model_pb2.ModelFitting:
        """Let an earlier version serve."""
        return _fitting(await self._modelling.roll_back(caller_tenant(), request.version))


def _model(one: Version, served: int) -> model_pb2.Model:
    model, figures = one.model, one.figures
    parameters = {**asdict(model.timing), **(asdict(model.value) if model.value else {})}
    return model_pb2.Model(
        version=model.version,
        name=model.name,
        serving=model.version == served,
        promoted=one.promoted,
        verdict=one.verdict,
        create_time=timestamp(one.create_time),
        fitted_until=model.fitted_until.isoformat() if model.fitted_until else "",
        customer_count=model.customers,
        repeat_customer_count=model.repeat_customers,
        dropout_evidence=model.dropout_evidence,
        parameters=parameters,
        trials=[_trial(trial) for trial in figures.get("trials", ())],
        served_brier=figures.get("served", {}).get("brier", 0.0),
        interval_coverage=figures.get("interval_coverage"),
    )


def _trial(trial: Mapping[str, Any]) -> model_pb2.ModelTrial:
    return model_pb2.ModelTrial(
        from_day=trial["from"],
        day_count=trial["days"],
        customer_count=trial["customers"],
        came_back=trial["came_back"],
        bgnbd=_measures(trial["bgnbd"]),
        corrected=_measures(trial["bgnbd+logistic"]) if trial["bgnbd+logistic"] else None,
        recency_auc=trial["recency_auc"],
        spending_in_top_tenth=trial["spending_in_top_tenth"],
        past_spending_in_top_tenth=trial["past_spending_in_top_tenth"],
    )


def _measures(found: Mapping[str, float]) -> model_pb2.ModelMeasures:
    return model_pb2.ModelMeasures(auc=found["auc"], brier=found["brier"], ece=found["ece"])


def _fitting(found: Fitting) -> model_pb2.ModelFitting:
    return model_pb2.ModelFitting(
        serving_version=found.served,
        held=found.held,
        due_time=timestamp(found.due_time),
        running=found.running,
        end_time=timestamp(found.end_time),
        verdict=found.verdict,
    )
