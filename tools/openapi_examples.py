"""Examples for the OpenAPI document: a value for each schema in the words of the domain, the same at every making.

A field's value is the first that is known of: the table's word for the field as this method leaves it or as its message
means it, the example in its comment, the table's word for its name, the first value of its enum, one of its type.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TIME = "2026-01-31T12:00:00Z"
_ID = "0198f3c2-7a10-7c3e-9b61-5f0d2c8e4a17"
_TICKET = {
    "number": "T-001",
    "ticket_number": "T-001",
    "subject": "Where is my order?",
    "initial_message": "My order 536365 has not arrived yet. Where is it?",
    "content": "My order 536365 has not arrived yet. Where is it?",
    "last_message_preview": "My order 536365 has not arrived yet. Where is it?",
    "channel": "email",
    "status": "open",
    "priority": "normal",
    "assigned_to": "agent-7",
    "tags": ["delivery"],
    "customer_id": "17850",
    "author_name": "Maria Silva",
    "author_email": "maria.silva@example.com",
    "author_id": "17850",
    "email": "maria.silva@example.com",
    "mentioned": ["maria.silva@example.com"],
    "display_name": "Maria Silva",
    "reasons": ["The customer has spent 4210.00."],
    "smart_score": 42.5,
    "rank": 42.5,
    "previous_status": "",
    "closed_at": None,
    "customer_profile": None,
    "ai_recommendation": None,
    "ai_draft_response": None,
    "ConversationReset.status": "reset",
    "messages_deleted": 3,
    "matches": 0,
    "topic_alerts_active": [],
    "smart_order_enabled": True,
    "completed": True,
    "tone": "friendly",
    "length": "short",
}
_PROMISES = {
    "first_response_hours": 4.0,
    "next_response_hours": 4.0,
    "resolution_hours": 24.0,
    "first_response_due": _TIME,
    "due_before": _TIME,
    "breached": [],
    "ListTicketsRequest.breached": False,
    "tag": "vip",
    "SlaTargets.tags": [{"tag": "vip", "first_response_hours": 1.0}],
    "time_zone": "Europe/Berlin",
    "country": "DE",
    "subdivision": "BY",
    "closed_days": ["2026-12-24"],
    "opens": "09:00",
    "closes": "17:00",
    "day": "DAY_MONDAY",
    "SlaSettings.revision": 2,
}
_TEXTS = {
    "KeywordRule.name": "gift_deadline",
    "phrases": ["birthday", "need it by _ saturday/sunday"],
    "level": "high",
    "member_tags": ["gold member"],
    "is_default": False,
    "KeywordRules.principal": "key:01890000",
    "AnalyzeTextRequest.subject": "Order T-1042",
    "AnalyzeTextRequest.text": "I need it by Saturday, where is it?",
    "AnalyzeTextRequest.tags": ["gold"],
    "TextSignals.intent": "order_status",
    "confidence": 0.87,
    "probabilities": {"order_status": 0.87, "unknown": 0.02},
    "intents": ["order_status"],
    "urgency": 0.5,
    "urgent_words": ["need it by saturday"],
    "upset": 0.0,
    "upset_words": [],
    "difficulty": 0.2,
    "language": "en",
    "keyword_rules": ["gift_deadline"],
}
_WORK = {
    "pinned": False,
    "escalated": False,
    "merged_into": "",
    "merged_from": [],
    "into": "T-002",
    "SnoozeTicket.status": "pending",
    "SnoozeTicket.snooze_until": _TIME,
    "PinTicket.pinned": True,
    "EscalateTicket.escalated": True,
    "MergeTicket.number": "T-002",
    "MergeTicket.merged_from": [_ID],
    "ReplyTicketRequest.content": "It left us yesterday and arrives tomorrow.",
    "ReplyTicketRequest.author_name": "Dora Lind",
    "ReplyTicketRequest.author_id": "agent-7",
    "ReplyTicketRequest.status": "pending",
    "ReplyTicket.status": "pending",
    "EscalateTicketRequest.reason": "The customer asks for a manager.",
    "BulkChangeTicketsRequest.tickets": ["T-001"],
    "BulkChangeTicketsResponse.changed_count": 1,
    "BulkChangeTicketsResponse.refused_count": 0,
    "BulkOutcome.ticket": "T-001",
    "BulkOutcome.reason": "",
    "BulkOutcome.detail": "",
    "HistoryEntry.action": "update",
    "HistoryEntry.details": {},
    "FieldChange.name": "priority",
    "FieldChange.before": "normal",
    "FieldChange.after": "high",
}
_SCORE = {
    "ScoreComponents.customer_value": 42.5,
    "ScoreCustomer.ltv": 4210.0,
    "ScoreCustomer.churn_risk": 0.12,
    "ScorePart.name": "customer_value",
    "ScorePart.origin": "orders of the shop",
    "ScorePartText.name": "customer_value",
    "total_score": 42.5,
    "score": 42.5,
    "score_micros": "42500000",
    "points": 42.5,
    "micros": "42500000",
    "input": "4210.00",
    "origin": "orders of the shop",
    "policy": "rapport:v1",
    "sentence": "The customer has spent 4210.00.",
    "age_hours": 4.0,
    "Policy.name": "rapport",
    "PolicyEdit.name": "rapport",
    "PolicyReplay.questions": 1840,
    "PolicyReplay.complete": True,
    "PolicyOutcome.name": "current",
    "missed": 61,
    "weighted_cost": 18.4,
    "cost_ratio": 0.82,
    "PriorityWaits.priority": "urgent",
    "PriorityWaits.questions": 128,
    "median_hours": 0.4,
    "p95_hours": 1.9,
    "PartDifference.name": "churn_risk",
    "PartDifference.micros": "1200000",
    "PolicyEdit.weights": {"customer_value": 1.5},
    "weights": {"customer_value": 1.0, "churn_risk": 1.0},
    "gamma": 0.1,
    "sla_share": 0.5,
    "bound_hours": 80.0,
    "time_zone": "Europe/Berlin",
    "intent": "refund",
    "minutes": 11.4,
    "Policy.reason": "Regulars first in the Christmas weeks",
    "SetPolicyRequest.reason": "Regulars first in the Christmas weeks",
    "RollbackPolicyRequest.reason": "Christmas is over",
    "Policy.principal": "key:01890000",
    "Counterfactual.name": "priority",
    "Counterfactual.places": 2,
    "Counterfactual.sentence": "Two places higher if its priority were high.",
    "tier": "normal",
    "above": "T-004",
    "below": "T-009",
    "Comparison.sentence": "T-004 is above T-009 by 1.20 points: the churn risk (+1.20) for it.",
    "lead_micros": "1200000",
    "other": "T-009",
    "place": 3,
    "new_place": 1,
}
_ACTIONS = {
    "RecommendedAction.action": "Arrange a replacement shipment for White hanging heart of order 536365",
    "RecommendedAction.code": "send_replacement",
    "RecommendedAction.reasoning": "The customer reports damage; the goods are of order 536365.",
    "RecommendedAction.gives": "replacement",
    "RecommendedAction.amount": "15.30 EUR",
    "RecommendedAction.facts": ["order.536365.placed_on", "order.536365.total"],
    "RecommendedAction.completed": False,
    "RecommendedAction.completed_at": "",
    "RecommendedAction.priority": 1,
    "ActionWorth.expected_value": 27.59,
    "ActionWorth.effect": 0.75,
    "ActionWorth.endangered": 61.12,
    "ActionWorth.cost": 18.25,
    "Recommendation.priority": "urgent",
    "Recommendation.talking_points": ["Regret the damage and say what happens next."],
    "Recommendation.warnings": ["A damaged parcel may turn into a refund."],
    "Recommendation.draft_response": "",
    "Recommendation.draft_tone": "",
    "Recommendation.draft_personalization": [],
    "Recommendation.generated_at": _TIME,
    "Recommendation.expires_at": _TIME,
    "Recommendation.source": "rules",
    "EstimatedImpact.retention_probability": 0.33,
    "EstimatedImpact.revenue_at_risk": 2400.5,
    "document": 'currency: EUR\ncredit: "10.00"\nlimits:\n  credit: {per_customer: "20.00", days: 90}\n',
    "ActionPolicy.principal": "key:01890000",
    "ActionPolicy.reason": "Credits for parcels that are late",
    "ActionPolicy.active": True,
    "SetActionPolicyRequest.reason": "Credits for parcels that are late",
    "RollbackActionPolicyRequest.reason": "The parcels arrive in time again",
    "ActionRule.enabled": True,
    "ActionRule.effect": 0.75,
    "ActionRule.minutes": 5.0,
    "ActionRule.gives": "replacement",
    "ActionRule.intents": ["damaged_item", "missing_item"],
    "PolicyProblem.line": 4,
    "PolicyProblem.field": "limits.credit.per_customer",
    "PolicyProblem.description": "A credit is 25.00, but the limit is 20.00.",
    "PreviewedTicket.actions": ["send_replacement", "ask_photo"],
    "PreviewedTicket.new_actions": ["refund", "ask_photo"],
    "PreviewedTicket.new_priority": "normal",
    "PreviewedTicket.changed": True,
    "PreviewedAction.amounts": [],
    "PreviewedAction.new_amounts": ["45.00 EUR"],
    "PreviewActionPolicyResponse.changed_count": 1,
    "PreviewActionPolicyResponse.skipped_count": 0,
    "PreviewActionPolicyRequest.version": 0,
    "attribution_token": "AaBAwv4Be5uLyFMP0sjkpwGgQML-AnububhTD9LI5Kd7wh8cFvYb2TqkB1mXl8Zq",
    "RecommendationEvent.kind": "KIND_ACCEPTED",
    "RecommendationEvent.action": "send_replacement",
    "RecommendationEvent.outcome": "OUTCOME_UNSPECIFIED",
    "RecommendationReportLine.action": "send_replacement",
    "PreviewedAction.action": "send_replacement",
    "ActionRule.action": "send_replacement",
    "made_count": 40,
    "shown_count": 31,
    "accepted_count": 18,
    "edited_count": 3,
    "rejected_count": 4,
    "Share.value": 0.84,
    "Share.low": 0.65,
    "Share.high": 0.94,
    "Share.count": 25,
    "recorded_count": 1,
}
_MODEL = {
    "Model.version": 3,
    "Model.name": "bgnbd+logistic:v3",
    "serving": True,
    "promoted": True,
    "Model.verdict": "better on held-back time: Brier 0.1965, served 0.2013",
    "fitted_until": "2026-01-30",
    "Model.customer_count": 2963,
    "ModelTrial.customer_count": 2716,
    "Model.repeat_customer_count": 1842,
    "dropout_evidence": True,
    "Model.parameters": {"r": 0.94, "alpha": 7.9, "a": 0.21, "b": 1.1, "p": 3.1, "q": 3.8, "v": 380.2},
    "from_day": "2025-11-02",
    "ModelTrial.day_count": 90,
    "came_back": 0.5071,
    "ModelMeasures.auc": 0.7629,
    "ModelMeasures.brier": 0.1965,
    "ModelMeasures.ece": 0.0187,
    "recency_auc": 0.6857,
    "spending_in_top_tenth": 0.609,
    "past_spending_in_top_tenth": 0.608,
    "served_brier": 0.2013,
    "interval_coverage": 0.812,
    "serving_version": 3,
    "ModelFitting.due_time": _TIME,
    "ModelFitting.end_time": _TIME,
    "ModelFitting.verdict": "better on held-back time: Brier 0.1965, served 0.2013",
}
_DRAFT = {
    "Draft.draft": "Thank you for your message. Parcel 00340434161094042557 is on its way.",
    "Draft.personalization_applied": ["Topic: order status", "Tracking 00340434161094042557"],
    "Draft.source": "rules",
    "Draft.labels": [],
    "Fact.id": "parcel.00340434161094042557.state",
    "Fact.kind": "parcel",
    "Fact.text": "Parcel 00340434161094042557 is on its way; it belongs to order 536365.",
    "StreamDraftResponse.text": "Thank you for your message. ",
    "Draft.language": "en",
    "DraftWish.language": "en",
}
_ORDER = {
    "order_id": "536365",
    "order_time": _TIME,
    "product_id": "85123A",
    "product_name": "White hanging heart",
    "quantity": 6,
    "unit_price": "2.55",
    "currency_code": "EUR",
    "tracking_number": "00340434161094042557",
    "tracking_url": "https://carrier.example.com/00340434161094042557",
    "carrier": "Example Parcels",
    "Shipment.status": "in_transit",
    "changed_order_count": "0",
    "refunded_amount": "0.00",
    "Order.state": "STATE_PLACED",
    "ordered_amount": "15.30",
    "returned_amount": "0.00",
    "total_amount": "15.30",
    "Line.amount": "15.30",
    "line_count": 1,
    "OrderImport.line_count": "1",
    "next_batch_number": 2,
    "source_customer_id": "17850",
}
_WHO = {
    "phone": "+351912345678",
    "provider_ids": {"shopify": "207119551"},
    "Identity.kind": "email",
    "Identity.value": "maria.silva@example.com",
    "Identity.source": "contact",
    "customer_count": 2,
    "OrderImport.customer_count": "1",
    "RecordIdentitiesRequest.source": "zendesk",
    "customer_ids": ["17850", "zendesk-501"],
    "survivor_id": "17850",
    "MergeCustomersRequest.customer_id": "17851",
    "CustomerMerge.customer_id": "17851",
    "CustomerMerge.principal": "",
    "CustomerMerge.undo_reason": "",
    "Evidence.kind": "email",
    "Evidence.value": "maria.silva@example.com",
    "shared_with": ["17850"],
    "PossibleMatch.customer_id": "17999",
    "PossibleMatch.kind": "phone",
    "PossibleMatch.value": "+351912345678",
    "against": "email",
    "ExportCustomerRequest.tickets": [],
    "ExchangeRate.currency_code": "USD",
    "ExchangeRate.day": "2026-01-01",
    "rate": "0.92",
    "base_currency_code": "EUR",
    "Currencies.currency_code": "EUR",
    "Use.currency_code": "USD",
    "order_count": "412",
    "uncounted_order_count": "0",
}
_PRODUCTS = {
    "Product.title": "White hanging heart",
    "Product.category": "Decoration",
    "Product.price": "2.55",
    "Product.stock": 120,
    "Product.url": "https://shop.example.com/products/85123A",
    "Product.listed": True,
    "UpsertProductsResponse.new_count": 1,
    "UpsertProductsResponse.changed_count": 0,
    "ListProductsRequest.category": "Decoration",
    "categories": ["Decoration"],
    "with_out_of_stock": False,
    "with_unlisted": False,
    "RecommendProductsRequest.owned": "OWNED_EXCLUDED",
    "excluded_product_ids": [],
    "ProductSuggestion.score": 0.31,
    "ProductSuggestion.explored": False,
    "SuggestionReason.product_id": "84406B",
    "product_title": "White metal lantern",
    "share": 0.64,
    "SuggestionReason.sentence": "Often bought by customers who bought White metal lantern.",
    "model_version": 3,
    "ProductModel.version": 3,
    "RollbackProductModel.version": 2,
    "ProductModel.in_service": True,
    "ProductModel.fixed": False,
    "RollbackProductModel.fixed": True,
    "ProductModel.customer_count": 3910,
    "ProductModel.item_count": 3502,
    "purchase_count": "251800",
    "held_back_days": 30,
    "judged_customers": 804,
    "RankingQuality.name": "model",
    "ndcg10": 0.41,
    "diversity": 0.1,
    "exploration": 0.1,
}
_CONNECTION = {
    "Connection.display_name": "Helpdesk",
    "CreateConnectionRequest.display_name": "Helpdesk",
    "config": {"subdomain": "acme"},
    "CreateConnectionRequest.secrets": {"webhook_secret": "the secret that the provider shows"},
    "webhook_secret": "the secret that the provider shows",
    "last_four": "hows",
    "webhook_url": "https://api.example.com/webhooks/zendesk/token-of-the-connection",
    "Delivery.state": "STATE_PROCESSED",
    "Delivery.reason": "",
    "duplicates": "0",
    # The seven counts add up to the admitted ones.
    "admitted": "1200",
    "processed": "1150",
    "superseded": "12",
    "duplicate": "30",
    "quarantined": "2",
    "pending": "3",
    "dead": "1",
    "discarded": "2",
    "refused": "4",
}
_TENANT = {
    "slug": "acme",
    "tenant": "acme",
    "UpdateTenantRequest.name": "Acme",
    "Tenant.name": "Acme",
    "features": {"demo": False},
    "settings": {"requests_per_minute": 6000},
    "etag": "9f86d081884c7d65",
    "ApiKey.name": "Order import",
    "scopes": ["tickets.read"],
    "prefix": "rpk_ThisIsAn",
    "key": "rpk_ThisIsAnExampleAndNoKeyAtAllXXXX_000000",
    "api_key": "rpk_ThisIsAnExampleAndNoKeyAtAllXXXX_000000",
    "allowed_origins": [],
    "requests_per_minute": 0,
    "rotated_from": "",
    "Domain.name": "support.example.com",
    "proof_path": "/.well-known/rapport-challenge",
    "proof_text": "text-that-proves-the-domain",
    "AuditEntry.subject": "operator:dora",
    "resource": "tenant=acme",
    "outcome": "OK",
    "requester": "operator:dora",
    "service": "tickets",
    "table": "messages",
}
_FINDING = {
    "SearchTicketsRequest.query": 'parcel "not arrived" -return',
    "relevance": 4.97,
    "SnippetPart.text": "parcel",
    "SnippetPart.matched": True,
    "BoundedCount.value": 17,
    "BoundedCount.text": "17",
    "TopicAlert.text": "late parcel",
    "CreateTopicAlertRequest.text": "late parcel",
    "weight": 1.0,
    "TopicAlert.principal": "key:0198f3c2-7a10-7c3e-9b61-5f0d2c8e4a17",
    "TopicSpike.text": "parcel 4711",
    "TopicSpike.ticket_count": 11,
    "usual_count": 0.4,
    "TopicSpike.sentence": "11 tickets about “parcel 4711” since 09:00 UTC; 0.4 are usual.",
}
_WRITING = {
    "allowed": True,
    "WritingSettings.model": "large",
    "SetWritingSettingsRequest.model": "large",
    "monthly_budget": "25.00",
    "WritingModel.name": "large",
    "WritingModel.provider": "anthropic",
    "WritingModel.model": "the-vendors-name-of-it",
    "input_price": "3.00",
    "output_price": "15.00",
    "WritingSettings.currency_code": "USD",
    "WritingSpend.currency_code": "USD",
    "WritingSettings.revision": 2,
    "WritingSettings.principal": "key:01890000",
    "month": "2026-03",
    "spent": "4.1832",
    "reserved": "0.02",
    "call_count": "812",
    "unsettled_count": "1",
    "input_tokens": "934100",
    "output_tokens": "112800",
    "draft_count": "790",
    "fallback_count": "22",
}
_KNOWLEDGE = {
    **{
        f"{message}.{name}": value
        for message in ("Article", "ArticleContent", "UpdateArticleRequest", "BaseArticle", "UpdateBaseArticleRequest")
        for name, value in {
            "kind": "policy",
            "title": "Returns",
            "body": "You can send anything back within 30 days.",
            "content": "You can send anything back within 30 days.",
            "url": "https://shop.example.com/help/returns",
            "status": "published",
        }.items()
    },
    "SearchArticlesRequest.query": "How do I send something back?",
    "SearchArticlesRequest.kind": "",
    "ListArticlesRequest.kind": "",
    "ListArticlesRequest.status": "",
    "ListBaseArticlesRequest.status": "",
    "DeletedBaseArticle.deleted": True,
    "Passage.title": "Returns",
    "Passage.url": "https://shop.example.com/help/returns",
    "Passage.text": "You can send anything back within 30 days.",
    "Passage.kind": "policy",
    "Passage.score": 0.032787,
    "Passage.similarity": 0.71,
    "RefusedArticle.source": "empty.html",
    "RefusedArticle.reason": "ARTICLE_INVALID",
    "RefusedArticle.detail": "Nothing can be made of the article: it has no text.",
    "topic": "How do I clean the lamp shade?",
    "ArticleSuggestion.priority": "high",
    "ArticleSuggestion.article_type": "guide",
    "sample_subjects": ["How do I clean my lamp shade?"],
    "sample_tickets": ["T-001"],
    "resolution_hours": 3.5,
    "nearest_similarity": 0.31,
    "article_title": "How do I clean the lamp shade?",
    "SuggestedArticle.priority": "High",
    "SuggestedArticle.article_type": "Guide",
    "deflection_potential": 0.75,
    "avg_resolution_hours_saved": 3.5,
    "avg_resolution_hours": 3.5,
    "ArticleSuggestions.source": "rules",
    "GeneratedArticle.article": "# How do I clean the lamp shade?",
    "GeneratedArticle.title": "How do I clean the lamp shade?",
    "GeneratedArticle.source": "rules",
    "GeneratedFrom.articles": ["Lamp care"],
    "issue": "How do I clean the lamp shade?",
    "has_article": False,
}
_NOTE = {
    f"{message}.{field}": value
    for message in ("Note", "DeskNote", "AddNoteRequest", "CreateNoteRequest")
    for field, value in {
        "content": "Asked the carrier; an answer is expected tomorrow.",
        "author_name": "Dora Lind",
        "author_id": "agent-7",
    }.items()
}
_FILTERS = {f"FiltersApplied.{name}": None for name in ("priority", "channel", "assigned_to", "customer_id")}
_AFTER = {
    "CloseTicket.status": "closed",
    "CloseTicket.close_time": _TIME,
    "CommitOrderImport.state": "STATE_COMMITTED",
    "ImportOrders.state": "STATE_COMMITTED",
    "DeleteTenant.state": "STATE_DELETED",
    "DeleteTenant.delete_time": _TIME,
    "DeleteTenant.purge_time": "2026-03-02T12:00:00Z",
    "SuspendTenant.state": "STATE_SUSPENDED",
    "DiscardDelivery.state": "STATE_DISCARDED",
    "ReplayDelivery.state": "STATE_PENDING",
    "RevokeApiKey.revoke_time": _TIME,
    "VerifyDomain.state": "STATE_VERIFIED",
    "VerifyDomain.verify_time": _TIME,
}
WORDS: Mapping[str, Any] = {
    **_TICKET,
    **_WORK,
    **_PROMISES,
    **_TEXTS,
    **_SCORE,
    **_MODEL,
    **_DRAFT,
    **_ACTIONS,
    **_ORDER,
    **_PRODUCTS,
    **_WHO,
    **_CONNECTION,
    **_TENANT,
    **_FINDING,
    **_KNOWLEDGE,
    **_WRITING,
    **_NOTE,
    **_FILTERS,
    **_AFTER,
    "next_page_token": "",
    "resume_token": "token-to-go-on-from",
    "limit": 50,
}
"""Values by the name of a field, by `Message.field` where a name means several things, or by `Method.field`."""

_NOT_IN_REQUESTS = frozenset(
    {
        "add_tags",
        "allowed_origins",
        "base_currency_code",
        "cancel_time",
        "change_time",
        "close_ticket",
        "create_time",
        "customer_count",
        "etag",
        "include_actions",
        "include_offer",
        "overlap",
        "refunded_amount",
        "remove_tags",
        "request_id",
        "requests_per_minute",
        "send_to_customer",
        "settings",
        "template",
    }
)
"""What a request can have, but hardly the first one that somebody tries."""
_NOT_TOGETHER = frozenset(
    {
        "WatchInboxResponse.caught_up",
        "StreamDraftResponse.restart",
        "StreamDraftResponse.draft",
        *(
            f"BulkAction.{action}"
            for action in ("close", "reopen", "snooze", "wake", "pin", "unpin", "escalate", "deescalate")
        ),
    }
)
"""Of what excludes one another, all but one."""
_QUOTED = re.compile(r'\bfor example "([^"]+)"')
_ABSENT = re.compile(r"\babsent\b", re.IGNORECASE)
_ONCE = re.compile(r"shown this once|cannot be read again")
_TYPES: Mapping[str, Any] = {"boolean": False, "object": {}, "null": None}
_FORMATS: Mapping[str, Any] = {
    "date-time": _TIME,
    "uuid": _ID,
    "email": "maria.silva@example.com",
    "uri": "https://example.com/",
    "hostname": "support.example.com",
    "int64": "1",
}
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Examples:
    """Makes examples for schemas that refer to `schemas`, the schemas of the document by name."""

    schemas: Mapping[str, Any]

    def add(self, operation: Mapping[str, Any]) -> None:
        """Give an operation's bodies and JSON answers their examples, where their shape is known."""
        method = operation["operationId"].partition("_")[2].rstrip("0123456789")
        for media in operation.get("requestBody", {}).get("content", {}).values():
            self._add(media, method, asked=True)
        answer = operation["responses"]["200"].get("content", {})
        self._add(answer.get("application/json", {}), method, asked=False)

    def _add(self, media: dict[str, Any], method: str, *, asked: bool) -> None:
        schema = media.get("schema", {})
        if "example" not in media and ("$ref" in schema or schema.get("type") == "object"):
            media["example"] = _Making(self.schemas, method, asked).value(schema, "", f"{method}Request")


@dataclass(frozen=True, slots=True)
class _Making:
    """One example in the making; `asked` tells a method's request from its answer."""

    schemas: Mapping[str, Any]
    method: str
    asked: bool

    def value(self, schema: Mapping[str, Any], name: str, message: str) -> Any:
        """Return a value for a field of a message, or nothing where none comes to mind."""
        if "anyOf" in schema:
            schema = schema["anyOf"][0] | {key: value for key, value in schema.items() if key != "anyOf"}
        if (known := self._known(schema, name, message)) is not _NOTHING:
            return known
        if "$ref" in schema:
            full_name = schema["$ref"].rpartition("/")[2]
            return self.value(self.schemas[full_name], name, full_name.rpartition(".")[2])
        if "properties" in schema:
            return self._members(schema, message)
        if schema.get("type") == "array":
            item = self.value(schema["items"], "", message)
            return [] if item is _NOTHING else [item]
        return _plain(schema, name)

    def _members(self, schema: Mapping[str, Any], message: str) -> dict[str, Any]:
        members = {}
        for name, one in schema["properties"].items():
            text = one.get("description", "")
            if name not in schema.get("required", ()) and self._left_out(name, one, message):
                continue
            # Secrets that are shown only once stand only in the answer of the method that makes them.
            hidden = not self.asked and _ONCE.search(text) and not self.method.startswith(("Create", "Rotate"))
            if (value := "" if hidden else self.value(one, name, message)) is not _NOTHING:
                members[name] = value
        return members

    def _left_out(self, name: str, schema: Mapping[str, Any], message: str) -> bool:
        if f"{message}.{name}" in _NOT_TOGETHER:
            return True
        if self.asked:
            return name in _NOT_IN_REQUESTS or schema.get("readOnly", False) or _can_be_absent(schema)
        return f"{self.method}.{name}" not in WORDS and _can_be_absent(schema)

    def _known(self, schema: Mapping[str, Any], name: str, message: str) -> Any:
        """Return the domain's word for a field, if there is one of its type."""
        quoted = _QUOTED.search(schema.get("description", ""))
        said = [quoted[1]] if quoted and schema.get("type") == "string" else []
        after = _NOTHING if self.asked else WORDS.get(f"{self.method}.{name}", _NOTHING)
        for word in (after, WORDS.get(f"{message}.{name}", _NOTHING), *said, WORDS.get(name, _NOTHING)):
            if word is not _NOTHING and _fits(word, schema):
                return word
        return _NOTHING


def _can_be_absent(schema: Mapping[str, Any]) -> bool:
    return bool(_ABSENT.search(schema.get("description", "")))


def _fits(word: Any, schema: Mapping[str, Any]) -> bool:
    """Tell whether a word is of a schema's type; names mean several things in different messages."""
    if "enum" in schema:
        return word in schema["enum"]
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return word is None or kinds[type(word)] == schema.get("type")


def _plain(schema: Mapping[str, Any], name: str) -> Any:
    """Return a value by a schema's own rules."""
    kind = schema.get("type")
    if "enum" in schema:
        return next((one for one in schema["enum"] if one and not one.endswith("_UNSPECIFIED")), schema["enum"][0])
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    if kind in {"integer", "number"}:
        return max(1, schema.get("minimum", 1)) if kind == "integer" else 0.0
    if kind == "string":
        return _text(schema, name)
    return _TYPES.get(str(kind), _NOTHING)


def _text(schema: Mapping[str, Any], name: str) -> Any:
    """Return a text for a field by its name."""
    if "pattern" in schema:
        return _NOTHING
    if name == "id" or name.endswith("_id"):
        return _ID
    if name.endswith("_at"):
        return _TIME
    return name.replace("_", " ")[: schema.get("maxLength")]
