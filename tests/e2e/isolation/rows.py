"""The rows of the isolation matrix: what each method is asked, and what a shop's own key is told where it is not "yes".

A new RPC needs a line in `REQUESTS`; a method that streams its answers needs no more than that.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

TICKET = {"ticket": "{ticket}"}
CUSTOMER = {"customer_id": "{customer}"}
CONNECTION = {"connection": "{connection}"}
APP = {"app": "01890000-0000-7000-8000-0000000000ab"}
TOPIC_ALERT = {"topic_alert": "01890000-0000-7000-8000-0000000000cc"}
ARTICLE = {"article": "01890000-0000-7000-8000-0000000000dd"}
DELIVERY = {"delivery": "{delivery}"}
LINE = {
    "order_id": "o-9",
    "customer_id": "cust-9",
    "order_time": "2026-01-01T00:00:00Z",
    "product_id": "p",
    "product_name": "Yarn",
    "quantity": 1,
    "unit_price": "1.00",
    "currency_code": "EUR",
}
PRODUCT = {"product_id": "p", "title": "Yarn", "price": "1.00", "currency_code": "EUR"}
ACTION_POLICY = "currency: EUR\nactions: {expedite: {enabled: false}}\n"
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
NOTE = {"content": "A note", "author_name": "Agent", "author_id": "agent-1"}
NEW_TICKET = {
    "customer_id": "cust-2",
    "subject": "Hello",
    "channel": "email",
    "priority": "normal",
    "initial_message": "Hello there",
    "author_name": "Kim",
    "author_email": "kim@example.com",
}
EVENT = {
    "event_id": "e-1",
    "connection_id": "{connection}",
    "provider": "zendesk",
    "external_ticket_id": "501",
    "occur_time": "2026-01-01T00:00:00Z",
    "fields": {"subject": "Overwritten"},
}
WHOLE_TICKET = {
    "legacy_id": "{ticket}",
    "id": "{ticket}",
    "customer_id": "cust-9",
    "subject": "Overwritten",
    "channel": "email",
    "status": "open",
    "priority": "normal",
    "create_time": "2026-01-01T00:00:00Z",
    "update_time": "2026-01-01T00:00:00Z",
}

# What each method is asked; `{name}` stands for the id of something that belongs to the first shop.
REQUESTS: dict[str, dict[str, Any]] = {
    "rapport.crm.v1.AppService/CreateApp": {"provider": "hubspot", "webhook_secret": "a-secret-of-an-app-0123456789"},
    "rapport.crm.v1.AppService/ListApps": {},
    "rapport.crm.v1.AppService/RotateAppSecret": {**APP, "webhook_secret": "another-secret-of-an-app-0123"},
    "rapport.crm.v1.AppService/RotateAppAddress": APP,
    "rapport.crm.v1.AppService/DeleteApp": APP,
    "rapport.crm.v1.ConnectionService/CreateConnection": {
        "provider": "zendesk",
        "secrets": {"webhook_secret": "a-secret-of-its-own-0123456789"},
    },
    "rapport.crm.v1.ConnectionService/GetConnection": CONNECTION,
    "rapport.crm.v1.ConnectionService/ListConnections": {},
    "rapport.crm.v1.ConnectionService/UpdateConnection": {**CONNECTION, "display_name": "Renamed"},
    "rapport.crm.v1.ConnectionService/TestConnection": CONNECTION,
    "rapport.crm.v1.ConnectionService/DeleteConnection": CONNECTION,
    "rapport.crm.v1.ConnectionService/RotateWebhookSecret": {
        **CONNECTION,
        "webhook_secret": "another-secret-0123456789",
    },
    "rapport.crm.v1.DataKeyService/GetDataKeyStatus": {},
    "rapport.crm.v1.DataKeyService/RotateDataKeys": {},
    "rapport.crm.v1.DataKeyService/RotateKek": {},
    "rapport.crm.v1.ConnectionService/RotateWebhookAddress": CONNECTION,
    "rapport.crm.v1.ConnectionService/SetPredecessorMode": CONNECTION,
    "rapport.crm.v1.DeliveryService/ListDeliveries": {},
    "rapport.crm.v1.DeliveryService/GetDelivery": DELIVERY,
    "rapport.crm.v1.DeliveryService/GetBalance": {},
    "rapport.crm.v1.DeliveryService/EraseCustomerDeliveries": {"mentioned": ["nobody@example.com"]},
    "rapport.tickets.v1.TicketService/EraseCustomerTickets": {"customer_id": "nobody"},
    "rapport.crm.v1.DeliveryService/ReplayDelivery": DELIVERY,
    "rapport.crm.v1.DeliveryService/DiscardDelivery": DELIVERY,
    "rapport.crm.v1.SyncService/StartSync": CONNECTION,
    "rapport.crm.v1.SyncService/StopSync": CONNECTION,
    "rapport.crm.v1.SyncService/ScheduleReconciliation": CONNECTION,
    "rapport.crm.v1.SyncService/ListSyncs": CONNECTION,
    "rapport.crm.v1.WriteService/CreateWrite": {**TICKET, "request_id": "request-1", "priority": "high"},
    "rapport.crm.v1.WriteService/SendReply": {**TICKET, "request_id": "request-2", "text": "Hello"},
    "rapport.crm.v1.WriteService/GetWrite": {"write": "01890000-0000-7000-8000-0000000000bb"},
    "rapport.crm.v1.WriteService/ListWrites": {},
    "rapport.crm.v1.WriteService/RetryWrite": {"write": "01890000-0000-7000-8000-0000000000bb"},
    "rapport.frontend.v1.Assistant/GetDraft": TICKET,
    "rapport.frontend.v1.Assistant/RegenerateDraft": {**TICKET, "tone": "friendly"},
    "rapport.frontend.v1.Assistant/GetRecommendation": TICKET,
    "rapport.frontend.v1.Assistant/CompleteAction": {**TICKET, "index": 0, "completed": True},
    "rapport.frontend.v1.Assistant/GetCustomerProfile": CUSTOMER,
    "rapport.frontend.v1.Assistant/GetRandomCustomer": {},
    "rapport.frontend.v1.Assistant/FindCustomer": {"email": "nobody@example.com"},
    "rapport.frontend.v1.Assistant/GetChurnRisk": CUSTOMER,
    "rapport.frontend.v1.Assistant/GetNextPurchase": CUSTOMER,
    "rapport.frontend.v1.Assistant/GetLtvForecast": CUSTOMER,
    "rapport.frontend.v1.Assistant/ListCustomerOrders": CUSTOMER,
    "rapport.frontend.v1.Assistant/GetArchetype": {"archetype_id": "{archetype}"},
    "rapport.frontend.v1.Assistant/GetSystemConfiguration": {},
    "rapport.frontend.v1.KnowledgeBase/SuggestArticles": {"limit": 10},
    "rapport.frontend.v1.KnowledgeBase/GenerateArticle": {"topic": "Returns"},
    "rapport.frontend.v1.KnowledgeBase/ListDeflectableIssues": {},
    "rapport.frontend.v1.KnowledgeBase/ListBaseArticles": {},
    "rapport.frontend.v1.KnowledgeBase/GetBaseArticle": ARTICLE,
    "rapport.frontend.v1.KnowledgeBase/UpdateBaseArticle": {**ARTICLE, "title": "Changed"},
    "rapport.frontend.v1.KnowledgeBase/DeleteBaseArticle": ARTICLE,
    "rapport.frontend.v1.TicketDesk/CreateTicket": NEW_TICKET,
    "rapport.frontend.v1.TicketDesk/ListTickets": {},
    "rapport.frontend.v1.TicketDesk/GetTicket": TICKET,
    "rapport.frontend.v1.TicketDesk/UpdateTicket": {**TICKET, "priority": "low"},
    "rapport.frontend.v1.TicketDesk/AddMessage": {
        **TICKET,
        "from_agent": True,
        "content": "Hi",
        "author_name": "Agent",
    },
    "rapport.frontend.v1.TicketDesk/ListNotes": TICKET,
    "rapport.frontend.v1.TicketDesk/AddNote": {**TICKET, **NOTE},
    "rapport.frontend.v1.TicketDesk/ResetConversation": TICKET,
    "rapport.frontend.v1.TicketDesk/GetScoreBreakdown": TICKET,
    "rapport.diagnosis.v1.DiagnosisService/GetDiagnosis": {},
    "rapport.gateway.v1.GatewayService/GetStatus": {},
    "rapport.gateway.v1.GatewayService/ShiftTraffic": {"service": "tickets", "percent": 0},
    "rapport.gateway.v1.GatewayService/CutOver": {"percent": 0},
    "rapport.recommendations.v1.ActionPolicyService/GetActionPolicy": {},
    "rapport.recommendations.v1.ActionPolicyService/ListActionPolicyVersions": {},
    "rapport.recommendations.v1.ActionPolicyService/CheckActionPolicy": {"document": ACTION_POLICY},
    "rapport.recommendations.v1.ActionPolicyService/SetActionPolicy": {"document": ACTION_POLICY},
    "rapport.recommendations.v1.ActionPolicyService/RollbackActionPolicy": {"version": 1},
    "rapport.recommendations.v1.ActionPolicyService/PreviewActionPolicy": {"document": ACTION_POLICY},
    "rapport.recommendations.v1.RecommendationService/GetRecommendation": TICKET,
    "rapport.recommendations.v1.RecommendationService/RecordRecommendationEvents": {
        "events": [{"attribution_token": "A" * 64, "kind": "KIND_SHOWN"}]
    },
    "rapport.recommendations.v1.RecommendationService/GetRecommendationReport": {},
    "rapport.recommendations.v1.ChangeService/ListChanges": {},
    "rapport.recommendations.v1.ChangeService/BatchGetCustomerCards": {"customer_ids": ["{customer}"]},
    "rapport.recommendations.v1.ChangeService/BatchGetAdvice": {"ticket_ids": ["{ticket}"]},
    "rapport.recommendations.v1.CustomerService/GetCustomer": CUSTOMER,
    "rapport.recommendations.v1.CustomerService/SetCustomerContacts": {
        "contacts": [{"customer_id": "cust-8", "email": "a@example.com"}]
    },
    "rapport.recommendations.v1.CustomerService/SetCustomerContact": {
        "customer_id": "cust-8",
        "email": "a@example.com",
    },
    "rapport.recommendations.v1.CustomerService/EraseCustomer": {"customer_id": "cust-9"},
    "rapport.recommendations.v1.CustomerService/ExportCustomer": CUSTOMER,
    "rapport.recommendations.v1.CurrencyService/GetCurrencies": {},
    "rapport.recommendations.v1.CurrencyService/SetExchangeRates": {
        "rates": [{"currency_code": "CHF", "day": "2026-01-01", "rate": "1.05"}]
    },
    "rapport.recommendations.v1.IdentityService/RecordIdentities": {
        "customer_id": "cust-7",
        "identities": [{"kind": "email", "value": "seven@example.com"}],
        "source": "zendesk",
    },
    "rapport.recommendations.v1.IdentityService/GetCustomerIdentities": CUSTOMER,
    "rapport.recommendations.v1.IdentityService/MergeCustomers": {
        "survivor_id": "{customer}",
        "customer_id": "customer-none",
    },
    "rapport.recommendations.v1.IdentityService/UndoMerge": {"merge_id": "01890000-0000-7000-8000-0000000000dd"},
    "rapport.recommendations.v1.KnowledgeService/CreateArticle": {
        "article": {"title": "Returns", "body": "Thirty days."}
    },
    "rapport.recommendations.v1.KnowledgeService/GetArticle": ARTICLE,
    "rapport.recommendations.v1.KnowledgeService/ListArticles": {},
    "rapport.recommendations.v1.KnowledgeService/UpdateArticle": {**ARTICLE, "title": "Changed"},
    "rapport.recommendations.v1.KnowledgeService/DeleteArticle": ARTICLE,
    "rapport.recommendations.v1.KnowledgeService/ImportArticles": {
        "articles": [{"source": "returns.md", "title": "Returns", "body": "Thirty days."}]
    },
    "rapport.recommendations.v1.KnowledgeService/SearchArticles": {"query": "returns"},
    "rapport.recommendations.v1.KnowledgeService/ListArticleSuggestions": {},
    "rapport.recommendations.v1.OrderService/ImportOrders": {"lines": [LINE]},
    "rapport.recommendations.v1.ModelService/FitModel": {},
    "rapport.recommendations.v1.ModelService/GetModel": {"version": 7},
    "rapport.recommendations.v1.ModelService/ListModels": {},
    "rapport.recommendations.v1.ModelService/RollbackModel": {"version": 7},
    "rapport.recommendations.v1.ProductModelService/FitProductModel": {},
    "rapport.recommendations.v1.ProductModelService/GetProductSettings": {},
    "rapport.recommendations.v1.ProductModelService/ListProductModels": {},
    "rapport.recommendations.v1.ProductModelService/RollbackProductModel": {"version": 7},
    "rapport.recommendations.v1.ProductModelService/SetProductSettings": {"product_settings": {"diversity": 0.1}},
    "rapport.recommendations.v1.ProductService/UpsertProducts": {"products": [PRODUCT]},
    "rapport.recommendations.v1.ProductService/GetProduct": {"product_id": "p-none"},
    "rapport.recommendations.v1.ProductService/ListProducts": {},
    "rapport.recommendations.v1.ProductService/ListSimilarProducts": {"product_id": "p-none"},
    "rapport.recommendations.v1.ProductService/DeleteProduct": {"product_id": "p-none"},
    "rapport.recommendations.v1.ProductService/RecommendProducts": CUSTOMER,
    "rapport.recommendations.v1.OrderService/CreateOrderImport": {},
    "rapport.recommendations.v1.OrderService/AppendOrderLines": {
        "import_id": "{order_import}",
        "batch_number": 1,
        "lines": [LINE],
    },
    "rapport.recommendations.v1.OrderService/StreamOrderLines": {
        "import_id": "{order_import}",
        "batch_number": 1,
        "lines": [LINE],
    },
    "rapport.recommendations.v1.OrderService/GetOrderImport": {"import_id": "{order_import}"},
    "rapport.recommendations.v1.OrderService/GetOrder": {"order_id": "o-none"},
    "rapport.recommendations.v1.OrderService/ListOrders": CUSTOMER,
    "rapport.recommendations.v1.OrderService/ChecksumOrders": {},
    "rapport.recommendations.v1.OrderService/CommitOrderImport": {
        "import_id": "{order_import}",
        "expected_line_count": 1,
    },
    "rapport.recommendations.v1.OrderService/RecordShipments": {
        "shipments": [{"order_id": "o-1", "tracking_number": "T1", "carrier": "DHL", "status": "in_transit"}]
    },
    "rapport.recommendations.v1.WritingService/GetWritingSettings": {},
    "rapport.recommendations.v1.WritingService/SetWritingSettings": {"allowed": False},
    "rapport.recommendations.v1.WritingService/GetWritingSpend": {},
    "rapport.tenant.v1.AuditService/ListAuditEntries": {},
    "rapport.tenant.v1.AuditService/RecordAuditEntries": {
        "entries": [
            {
                "id": "01890000-0000-7000-8000-0000000000aa",
                "kind": "KIND_ACT",
                "create_time": "2026-01-01T00:00:00Z",
                "count": 1,
            }
        ]
    },
    "rapport.tenancy.v1.TenantDataService/EraseTenant": {"tenant_id": "{tenant_id}"},
    "rapport.tenancy.v1.TenantDataService/ExportTenant": {"tenant_id": "{tenant_id}"},
    "rapport.tenant.v1.ApiKeyService/CreateApiKey": {"api_key": {"name": "desk", "scopes": ["tickets.read"]}},
    "rapport.tenant.v1.ApiKeyService/ListApiKeys": {},
    "rapport.tenant.v1.ApiKeyService/RotateApiKey": {"api_key": "{api_key}"},
    "rapport.tenant.v1.ApiKeyService/RevokeApiKey": {"api_key": "{api_key}"},
    "rapport.tenant.v1.DomainService/CreateDomain": {"domain": {"name": "support.example.com"}},
    "rapport.tenant.v1.DomainService/ListDomains": {},
    "rapport.tenant.v1.DomainService/VerifyDomain": {"domain": "{domain}"},
    "rapport.tenant.v1.DomainService/DeleteDomain": {"domain": "{domain}"},
    "rapport.tenant.v1.SigningKeyService/GetKeyWrapping": {},
    "rapport.tenant.v1.SigningKeyService/ListSigningKeys": {},
    "rapport.tenant.v1.SigningKeyService/RewrapKeys": {},
    "rapport.tenant.v1.SigningKeyService/RotateSigningKey": {},
    "rapport.tenant.v1.TenantService/CreateTenant": {"tenant": {"slug": "intruder", "name": "Intruder"}},
    "rapport.tenant.v1.TenantService/GetTenant": {"tenant": "{slug}"},
    "rapport.tenant.v1.TenantService/ListTenants": {},
    "rapport.tenant.v1.TenantService/UpdateTenant": {"tenant": {"slug": "{slug}", "name": "Changed"}},
    "rapport.tenant.v1.TenantService/SuspendTenant": {"tenant": "{slug}"},
    "rapport.tenant.v1.TenantService/ResumeTenant": {"tenant": "{slug}"},
    "rapport.tenant.v1.TenantService/DeleteTenant": {"tenant": "{slug}"},
    "rapport.tenant.v1.TenantService/UndeleteTenant": {"tenant": "{slug}"},
    "rapport.tenant.v1.TenantService/EraseTenant": {"tenant": "{slug}"},
    "rapport.tenant.v1.TenantService/GetErasure": {"tenant": "{slug}"},
    "rapport.tenant.v1.TokenService/WatchTrust": {},
    "rapport.tickets.v1.ConversationService/GetConversation": TICKET,
    "rapport.tickets.v1.IngestService/IngestEvents": {"events": [EVENT]},
    "rapport.tickets.v1.MigrationService/ImportTickets": {"tickets": [WHOLE_TICKET]},
    "rapport.tickets.v1.MigrationService/ListImportedTickets": {},
    "rapport.tickets.v1.MigrationService/ChecksumTickets": {},
    "rapport.tickets.v1.MigrationService/ListChangedTickets": {},
    "rapport.tickets.v1.PolicyReplayService/ReplayPolicies": {},
    "rapport.tickets.v1.PolicyService/GetPolicy": {},
    "rapport.tickets.v1.PolicyService/ListPolicies": {},
    "rapport.tickets.v1.PolicyService/SetPolicy": {"policy": {"name": "rapport"}},
    "rapport.tickets.v1.PolicyService/RollbackPolicy": {"version": 1},
    "rapport.tickets.v1.PolicyService/PreviewPolicy": {"policy": {"name": "fifo"}},
    "rapport.tickets.v1.PolicyService/ComparePlaces": {**TICKET, "other": "01890000-0000-7000-8000-0000000000cc"},
    "rapport.tickets.v1.SearchService/SearchTickets": {"query": "hello"},
    "rapport.tickets.v1.SearchService/CountTickets": {"by": "BY_STATUS"},
    "rapport.tickets.v1.TopicService/CreateTopicAlert": {"text": "late parcel"},
    "rapport.tickets.v1.TopicService/GetTopicAlert": TOPIC_ALERT,
    "rapport.tickets.v1.TopicService/ListTopicAlerts": {},
    "rapport.tickets.v1.TopicService/UpdateTopicAlert": {**TOPIC_ALERT, "weight": 0.5},
    "rapport.tickets.v1.TopicService/DeleteTopicAlert": TOPIC_ALERT,
    "rapport.tickets.v1.TopicService/ListTopicSpikes": {},
    "rapport.tickets.v1.LanguageService/GetKeywordRules": {},
    "rapport.tickets.v1.LanguageService/SetKeywordRules": {
        "rules": [{"name": "gift", "phrases": ["birthday"], "level": "high"}]
    },
    "rapport.tickets.v1.LanguageService/AnalyzeText": {"text": "Where is my order?"},
    "rapport.tickets.v1.SlaService/GetSlaSettings": {},
    "rapport.tickets.v1.SlaService/SetSlaTargets": {"targets": {"tags": [{"tag": "vip", "first_response_hours": 1}]}},
    "rapport.tickets.v1.SlaService/SetCalendar": {
        "calendar": {"time_zone": "UTC", "hours": [{"day": "DAY_MONDAY", "opens": "09:00", "closes": "17:00"}]}
    },
    "rapport.tickets.v1.TicketService/ListTickets": {},
    "rapport.tickets.v1.TicketService/GetTicket": TICKET,
    "rapport.tickets.v1.TicketService/CreateTicket": NEW_TICKET,
    "rapport.tickets.v1.TicketService/UpdateTicket": {
        "ticket": {"id": "{ticket}", "subject": "Changed"},
        "update_mask": "subject",
    },
    "rapport.tickets.v1.TicketService/CloseTicket": TICKET,
    "rapport.tickets.v1.TicketService/ReopenTicket": TICKET,
    "rapport.tickets.v1.TicketService/SnoozeTicket": {**TICKET, "until": TOMORROW},
    "rapport.tickets.v1.TicketService/WakeTicket": TICKET,
    "rapport.tickets.v1.TicketService/PinTicket": TICKET,
    "rapport.tickets.v1.TicketService/UnpinTicket": TICKET,
    "rapport.tickets.v1.TicketService/EscalateTicket": TICKET,
    "rapport.tickets.v1.TicketService/DeescalateTicket": TICKET,
    "rapport.tickets.v1.TicketService/ReplyTicket": {**TICKET, "content": "Hi", "status": "open"},
    "rapport.tickets.v1.TicketService/MergeTicket": {**TICKET, "into": "T-999999"},
    "rapport.tickets.v1.TicketService/UnmergeTicket": TICKET,
    "rapport.tickets.v1.TicketService/BulkChangeTickets": {"tickets": ["{ticket}"], "action": {"pin": {}}},
    "rapport.tickets.v1.TicketService/ListTicketHistory": TICKET,
    "rapport.tickets.v1.TicketService/ResetConversation": TICKET,
    "rapport.tickets.v1.TicketService/RestoreConversation": TICKET,
    "rapport.recommendations.v1.DraftService/GetDraft": TICKET,
    "rapport.recommendations.v1.DraftService/RegenerateDraft": TICKET,
    "rapport.recommendations.v1.DraftService/StreamDraft": TICKET,
    "rapport.recommendations.v1.DraftService/StreamDraftEvents": TICKET,
    "rapport.tickets.v1.TicketService/ExplainTicket": TICKET,
    "rapport.tickets.v1.TicketService/ListMessages": TICKET,
    "rapport.tickets.v1.TicketService/CreateMessage": {**TICKET, "content": "Hi", "author_name": "Kim"},
    "rapport.tickets.v1.TicketService/ListNotes": TICKET,
    "rapport.tickets.v1.TicketService/CreateNote": {**TICKET, **NOTE},
    "rapport.tickets.v1.TicketService/WatchInbox": {},
    "rapport.tickets.v1.TicketService/WatchInboxEvents": {},
}
# A shop's own key may not do these: they are an operator's or a service's.
OPERATORS = ("TenantService/", "DataKeyService/", "AppService/")
NOT_FOR_SHOPS = {name for name in REQUESTS if any(service in name for service in OPERATORS)} | {
    "rapport.diagnosis.v1.DiagnosisService/GetDiagnosis",
    "rapport.gateway.v1.GatewayService/GetStatus",
    "rapport.gateway.v1.GatewayService/ShiftTraffic",
    "rapport.gateway.v1.GatewayService/CutOver",
    "rapport.recommendations.v1.ChangeService/ListChanges",
    "rapport.recommendations.v1.OrderService/ChecksumOrders",
    "rapport.tenancy.v1.TenantDataService/EraseTenant",
    "rapport.tenancy.v1.TenantDataService/ExportTenant",
    "rapport.tenant.v1.AuditService/RecordAuditEntries",
    "rapport.tenant.v1.SigningKeyService/GetKeyWrapping",
    "rapport.tenant.v1.SigningKeyService/ListSigningKeys",
    "rapport.tenant.v1.SigningKeyService/RewrapKeys",
    "rapport.tenant.v1.SigningKeyService/RotateSigningKey",
    "rapport.tenant.v1.TokenService/WatchTrust",
    "rapport.tickets.v1.IngestService/IngestEvents",
    "rapport.tickets.v1.MigrationService/ImportTickets",
}
# With its own key a shop is told that its state does not allow this, or that there is nothing to find.
OWN_REFUSALS = {
    "rapport.crm.v1.DeliveryService/ReplayDelivery": grpc.StatusCode.FAILED_PRECONDITION,
    "rapport.crm.v1.DeliveryService/DiscardDelivery": grpc.StatusCode.FAILED_PRECONDITION,
    "rapport.crm.v1.SyncService/StartSync": grpc.StatusCode.FAILED_PRECONDITION,
    "rapport.crm.v1.WriteService/CreateWrite": grpc.StatusCode.FAILED_PRECONDITION,
    "rapport.crm.v1.WriteService/SendReply": grpc.StatusCode.FAILED_PRECONDITION,
    "rapport.crm.v1.WriteService/GetWrite": grpc.StatusCode.NOT_FOUND,
    "rapport.crm.v1.WriteService/RetryWrite": grpc.StatusCode.NOT_FOUND,
    "rapport.frontend.v1.Assistant/GetRandomCustomer": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.RecommendationService/RecordRecommendationEvents": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.OrderService/GetOrder": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.IdentityService/MergeCustomers": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.IdentityService/UndoMerge": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.ModelService/GetModel": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.ModelService/RollbackModel": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.ProductModelService/RollbackProductModel": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.ProductService/GetProduct": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.ProductService/ListSimilarProducts": grpc.StatusCode.NOT_FOUND,
    "rapport.recommendations.v1.ProductService/DeleteProduct": grpc.StatusCode.NOT_FOUND,
    "rapport.frontend.v1.Assistant/FindCustomer": grpc.StatusCode.NOT_FOUND,
    **{
        f"rapport.{method}": grpc.StatusCode.NOT_FOUND
        for method in (
            *(f"recommendations.v1.KnowledgeService/{verb}Article" for verb in ("Get", "Update", "Delete")),
            *(f"frontend.v1.KnowledgeBase/{verb}BaseArticle" for verb in ("Get", "Update", "Delete")),
        )
    },
    "rapport.tenant.v1.DomainService/VerifyDomain": grpc.StatusCode.FAILED_PRECONDITION,
    "rapport.tickets.v1.PolicyService/ComparePlaces": grpc.StatusCode.NOT_FOUND,
    "rapport.tickets.v1.TopicService/GetTopicAlert": grpc.StatusCode.NOT_FOUND,
    "rapport.tickets.v1.TopicService/UpdateTopicAlert": grpc.StatusCode.NOT_FOUND,
    "rapport.tickets.v1.TopicService/DeleteTopicAlert": grpc.StatusCode.NOT_FOUND,
    "rapport.tickets.v1.TicketService/MergeTicket": grpc.StatusCode.NOT_FOUND,
    "rapport.tickets.v1.TicketService/UnmergeTicket": grpc.StatusCode.FAILED_PRECONDITION,
}
# These end what later rows need, or change what another row changes, so a shop's own calls to them come last.
LAST = (
    *("CloseTicket", "ReopenTicket", "SnoozeTicket", "WakeTicket", "SetCalendar"),
    *("CommitOrderImport", "RevokeApiKey", "DeleteConnection", "DeleteDomain"),
    # Advice is given up when messages keep being added while it is computed, as other rows do.
    *("GetDraft", "RegenerateDraft", "StreamDraft", "StreamDraftEvents", "GetRecommendation", "CompleteAction"),
)
MAY_ANSWER = ("BatchGet", "BulkChange", "GetArchetype")
"""What another shop may ask with a name of the first one's and be answered: it is not told anything of the first."""
