"""What shops do with their keyword rules, and what a text says to them."""

from collections.abc import Sequence

from servicekit.etag import etag, require
from services.tickets.desk import Caller, Clock, utc_now
from services.tickets.keyword_rules import KeywordRule, applied, checked
from services.tickets.keyword_store import StoredRules
from services.tickets.language import Signals, analyse
from services.tickets.store import Store


def etag_of(stored: StoredRules) -> str:
    """Return the etag of rules."""
    return etag("keyword_rules", stored.rules.revision)


class LanguageDesk:
    """Reads and changes keyword rules."""

    def __init__(self, store: Store, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def get(self, caller: Caller) -> StoredRules:
        """Return the rules of the shop."""
        async with self._store.shop(caller.tenant_id) as shop:
            return await shop.keywords.get()

    async def set(
        self, caller: Caller, rules: Sequence[KeywordRule], member_tags: Sequence[str], expected: str
    ) -> StoredRules:
        """Replace the rules; `expected` is the etag that the caller has seen, empty for any.

        Raises:
            KeywordRulesInvalidError, EtagMismatchError: see there.
        """
        async with self._store.shop(caller.tenant_id) as shop:
            known = await shop.keywords.lock()
            require(expected, etag_of(known))
            new = checked(rules, member_tags, known.rules.revision + 1)
            stored = StoredRules(new, caller.principal, self._clock())
            await shop.keywords.put(stored)
            return stored

    async def analyse(self, caller: Caller, subject: str, text: str, tags: Sequence[str]) -> Signals:
        """Return what a text says; nothing is stored."""
        rules = (await self.get(caller)).rules
        messages = [text] if text else []
        return applied(rules, analyse(subject, messages), subject, messages, tags)
