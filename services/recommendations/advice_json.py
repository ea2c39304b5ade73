"""Advice as it is shown: to the frontend, over the public API and in the copies that other services keep."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.recommendations import attribution
from services.recommendations.advice_store import StoredAdvice, Ticks

SOURCE = "rules"
"""Where advice comes from that no model wrote."""


def draft_json(stored: StoredAdvice) -> dict[str, Any]:
    """Return a draft as it is shown."""
    return {
        "ticket_id": str(stored.ticket_id),
        "draft": stored.content["draft"],
        "tone": stored.tone,
        "length": stored.length,
        "personalization_applied": stored.content["personalization"],
        "generated_at": moment(stored.create_time),
        "conversation_version": stored.conversation_version,
        "source": stored.content.get("source", SOURCE),
        "labels": stored.content.get("labels", []),
        "language": stored.content.get("language", ""),
        "facts_used": stored.content.get("facts", []),
    }


def recommendation_json(stored: StoredAdvice, draft: StoredAdvice | None, ticks: Ticks) -> dict[str, Any]:
    """Return a recommendation as it is shown, with the draft if that answers the same conversation."""
    fitting = draft if draft and draft.conversation_version == stored.conversation_version else None
    seal = stored.content.get("seal", "")
    return {
        "id": str(stored.id),
        "ticket_id": str(stored.ticket_id),
        "priority": stored.content["priority"],
        "actions": [action_json(action, stored.ticket_id, ticks) for action in stored.content["actions"]],
        "talking_points": stored.content["talking_points"],
        "warnings": stored.content["warnings"],
        "estimated_impact": stored.content["estimated_impact"],
        "draft_response": fitting.content["draft"] if fitting else "",
        "draft_tone": fitting.tone if fitting else "",
        "draft_personalization": fitting.content["personalization"] if fitting else [],
        "generated_at": moment(stored.create_time),
        "conversation_version": stored.conversation_version,
        "expires_at": moment(stored.check_time or stored.create_time),
        "source": SOURCE,
        "facts_used": stored.content.get("facts", []),
        "policy_version": stored.content.get("policy_version", 1),
        "attribution_token": attribution.token(stored.ticket_id, stored.id, seal) if seal else "",
    }


def action_json(action: Mapping[str, Any], ticket_id: UUID, ticks: Ticks) -> dict[str, Any]:
    """Return an action as it is shown, ticked off or not."""
    ticked = ticks.get((ticket_id, action["code"]))
    return {
        "action": action["action"],
        "priority": action["priority"],
        "reasoning": action["reasoning"],
        "completed": ticked is not None,
        "completed_at": moment(ticked) if ticked else None,
        "code": action["code"],
        "worth": action.get("worth"),
        "gives": action.get("gives", ""),
        "amount": action.get("amount", ""),
        "facts": action.get("facts", []),
    }


def moment(when: datetime) -> str:
    """Return a time as RFC 3339 in UTC, with a Z."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
