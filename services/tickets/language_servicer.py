"""`rapport.tickets.v1.LanguageService`: messages in, one call, messages out; decides nothing."""

from rapport.tickets.v1 import language_service_pb2, language_service_pb2_grpc

from servicekit.timestamps import timestamp
from services.tickets.keyword_rules import KeywordRule
from services.tickets.keyword_store import StoredRules
from services.tickets.language import INTENTS, UNKNOWN
from services.tickets.language_desk import LanguageDesk, etag_of
from services.tickets.service import Context, present_caller


class LanguageServicer(language_service_pb2_grpc.LanguageServiceServicer):
    """`rapport.tickets.v1.LanguageService`."""

    def __init__(self, desk: LanguageDesk) -> None:
        self._desk = desk

    async def GetKeywordRules(
        self, _request: language_service_pb2.GetKeywordRulesRequest, _context: Context
    ) -> language_service_pb2.KeywordRules:
        """Return the keyword rules."""
        return _message(await self._desk.get(present_caller()))

    async def SetKeywordRules(
        self, request: language_service_pb2.SetKeywordRulesRequest, _context: Context
    ) -> language_service_pb2.KeywordRules:
        """Replace the keyword rules."""
        rules = [KeywordRule(one.name, tuple(one.phrases), one.level) for one in request.rules]
        return _message(await self._desk.set(present_caller(), rules, request.member_tags, request.etag))

    async def AnalyzeText(
        self, request: language_service_pb2.AnalyzeTextRequest, _context: Context
    ) -> language_service_pb2.TextSignals:
        """Say what a text says."""
        signals = await self._desk.analyse(present_caller(), request.subject, request.text, request.tags)
        return language_service_pb2.TextSignals(
            intent=signals.intent,
            confidence=signals.confidence,
            probabilities=dict(zip((*INTENTS, UNKNOWN), signals.probabilities, strict=False)),
            intents=signals.intents,
            urgency=signals.urgency,
            urgent_words=signals.urgent_words,
            upset=signals.upset,
            upset_words=signals.upset_words,
            difficulty=signals.difficulty,
            language=signals.language,
            keyword_rules=signals.rules,
        )


def _message(stored: StoredRules) -> language_service_pb2.KeywordRules:
    rules = stored.rules
    return language_service_pb2.KeywordRules(
        rules=[
            language_service_pb2.KeywordRule(name=rule.name, phrases=rule.phrases, level=rule.level)
            for rule in rules.rules
        ],
        member_tags=rules.member_tags,
        is_default=rules.revision == 0,
        principal=stored.principal,
        update_time=timestamp(stored.update_time),
        etag=etag_of(stored),
    )
