"""What takes webhooks in, wired to each other."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from servicekit.audit import AuditTrail
from servicekit.database import Database
from services.crm.account_store import AccountStore
from services.crm.accounts import Accounts
from services.crm.address_book import AddressBook
from services.crm.address_store import AddressStore
from services.crm.directory import Directory
from services.crm.entrance import Entrance
from services.crm.inbox import Inbox
from services.crm.keyring import Keyring
from services.crm.quarantine import Quarantine
from services.crm.quarantine_store import QuarantineStore
from services.crm.refusal_store import RefusalStore
from services.crm.refusals import Refusals
from services.crm.store import Store
from services.crm.threshold import Threshold
from services.crm.usage import PredecessorUses


@dataclass(frozen=True, slots=True)
class Receiving:
    """The inbox, and those of its parts that others tell of changes or that work beside it."""

    inbox: Inbox
    directory: Directory
    accounts: Accounts
    refusals: Refusals
    entrance: Entrance
    addresses: AddressBook

    @classmethod
    def wired(
        cls,
        database: Database,
        keyring: Keyring,
        *,
        audit: AuditTrail | None,
        threshold: Threshold,
        public_url: str,
        admitted: Callable[[], None],
        alert_at: int = 20,
    ) -> "Receiving":
        """Put the parts together; `alert_at` refusals of a connection within five minutes are told of."""
        addresses = AddressStore(database)
        directory = Directory(addresses, keyring, time.monotonic)
        accounts = Accounts(addresses, AccountStore(database), keyring, time.monotonic)
        refusals = Refusals(RefusalStore(database), audit, alert_at=alert_at)
        entrance = Entrance(Store(database).admit)
        inbox = Inbox(
            directory,
            entrance,
            refusals,
            accounts=accounts,
            quarantine=Quarantine(QuarantineStore(database)),
            uses=PredecessorUses(audit),
            threshold=threshold,
            public_url=public_url,
            admitted=admitted,
        )
        book = AddressBook(addresses, keyring, directory, public_url=public_url)
        return cls(inbox, directory, accounts, refusals, entrance, book)
