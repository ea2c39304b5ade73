"""The agents' frontend: `rapport.frontend.v1.Assistant` in, calls of this service, its JSON shapes out."""

from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody
from rapport.frontend.v1 import assistant_pb2, assistant_pb2_grpc

from servicekit.errors import FieldViolation, RequestInvalidError
from servicekit.identity import caller, caller_tenant
from services.recommendations import configuration, customer_orders, forecast
from services.recommendations.advising import Advising, wish_of
from services.recommendations.customers import Customers
from services.recommendations.errors import CustomerNotFoundError
from services.recommendations.model import HORIZON_DAYS
from services.recommendations.service import Context, json_body

DEMO_FEATURE = "demo"
"""The feature of tenants whose customers are invented; only they hand out random ones."""

_MONTHS = 12

_CONFIGURATION = orjson.dumps(configuration.describe())


def answer(values: Any) -> HttpBody:
    """Return values as a JSON body."""
    return json_body(orjson.dumps(values))


class AssistantServicer(assistant_pb2_grpc.AssistantServicer):
    """`rapport.frontend.v1.Assistant`."""

    def __init__(self, customers: Customers, advising: Advising) -> None:
        self._customers = customers
        self._advising = advising

    async def GetDraft(self, request: assistant_pb2.GetDraftRequest, _context: Context) -> HttpBody:
        """Return the current draft."""
        return answer(await self._advising.draft(caller_tenant(), request.ticket))

    async def RegenerateDraft(self, request: assistant_pb2.RegenerateDraftRequest, _context: Context) -> HttpBody:
        """Write the draft anew."""
        return answer(
            await self._advising.regenerate(
                caller_tenant(),
                request.ticket,
                wish_of(request.tone, request.length, "", request.template, include_offer=request.include_offer),
                request.include_actions,
            )
        )

    async def GetRecommendation(self, request: assistant_pb2.GetRecommendationRequest, _context: Context) -> HttpBody:
        """Return the current recommendation."""
        return answer(await self._advising.recommendation(caller_tenant(), request.ticket))

    async def CompleteAction(self, request: assistant_pb2.CompleteActionRequest, _context: Context) -> HttpBody:
        """Tick an action off or take the tick back."""
        action = await self._advising.complete_action(
            caller_tenant(), request.ticket, request.index, completed=request.completed
        )
        return answer({"action": action})

    async def GetCustomerProfile(self, request: assistant_pb2.GetCustomerProfileRequest, _context: Context) -> HttpBody:
        """Return a customer's profile."""
        return json_body(await self._customers.profile_json(caller_tenant(), request.customer_id))

    async def GetRandomCustomer(self, _request: assistant_pb2.GetRandomCustomerRequest, _context: Context) -> HttpBody:
        """Return the profile of some customer of a demo tenant."""
        if DEMO_FEATURE not in caller().features:
            raise CustomerNotFoundError("There is no such customer.", metadata={"customer_id": "random"})
        return json_body(await self._customers.random(caller_tenant()))

    async def FindCustomer(self, request: assistant_pb2.FindCustomerRequest, _context: Context) -> HttpBody:
        """Find a customer by e-mail address."""
        found = await self._customers.find_by_email(caller_tenant(), request.email)
        return answer(
            {"customer_id": found.customer_id, "email": found.email, "name": found.display_name, "found": True}
        )

    async def GetChurnRisk(self, request: assistant_pb2.GetChurnRiskRequest, _context: Context) -> HttpBody:
        """Return how likely a customer is lost and why."""
        churn = (await self._customers.get(caller_tenant(), request.customer_id)).judged.churn
        return answer(
            {
                "customer_id": request.customer_id,
                "churn_risk_score": churn.score,
                "churn_probability": churn.score,
                "risk_level": churn.level,
                "risk_factors": list(churn.reasons),
                "recommendation": churn.recommendation,
                "model_version": churn.origin,
                "horizon_days": HORIZON_DAYS,
                "evidence": churn.evidence,
            }
        )

    async def GetNextPurchase(self, request: assistant_pb2.GetNextPurchaseRequest, _context: Context) -> HttpBody:
        """Return when a customer is likely to buy again."""
        judged = (await self._customers.get(caller_tenant(), request.customer_id)).judged
        frequency = judged.segmentation.dominant.get("purchase_frequency", "")
        return answer(forecast.next_purchase(judged.history, judged.churn, frequency, self._customers.today))

    async def GetLtvForecast(self, request: assistant_pb2.GetLtvForecastRequest, _context: Context) -> HttpBody:
        """Return what a customer is expected to spend."""
        known = await self._customers.get(caller_tenant(), request.customer_id)
        months = request.months or _MONTHS
        return answer(
            forecast.lifetime_value(
                known.judged.history, known.judged.churn, known.model, months, self._customers.today
            )
        )

    async def ListCustomerOrders(self, request: assistant_pb2.ListCustomerOrdersRequest, _context: Context) -> HttpBody:
        """Return a customer's orders."""
        try:
            chosen = customer_orders.parse_filter(
                request.search_terms, request.months_ago, request.start_date, request.end_date, self._customers.now
            )
        except (ValueError, OverflowError) as error:
            violation = FieldViolation("start_date", "start_date and end_date must be days of the calendar.", "date")
            raise RequestInvalidError("A date is not a day of the calendar.", violations=[violation]) from error
        limit = request.limit or customer_orders.DEFAULT_LIMIT
        return answer(await self._customers.orders(caller_tenant(), request.customer_id, chosen, limit))

    async def GetArchetype(self, request: assistant_pb2.GetArchetypeRequest, _context: Context) -> HttpBody:
        """Return an archetype."""
        return answer((await self._customers.archetype(caller_tenant(), request.archetype_id)).to_json())

    async def GetSystemConfiguration(
        self, _request: assistant_pb2.GetSystemConfigurationRequest, _context: Context
    ) -> HttpBody:
        """Return the axes and segments."""
        return json_body(_CONFIGURATION)
