"""What the tenant service keeps is wrapped by another key-encryption key, while it goes on signing."""

from servicekit.database import Database
from servicekit.envelope import KeyEncryptionKeys, new_data_key
from services.tenant.rewrapping import Rewrapping
from services.tenant.signing import OF_NO_TENANT, SealedSigningKey, new_signing_key, open_sealed, seal
from services.tenant.trust_store import TrustStore
from tests.support.servers import DatabaseFor

OLD = KeyEncryptionKeys("kek-1", {"kek-1": new_data_key()})
BOTH = OLD.with_new()
NEW = BOTH.without("kek-1")


async def test_after_rewrapping_nothing_needs_the_old_key(fresh_database_for: DatabaseFor) -> None:
    """Signing keys and shared secrets open with the new key alone, and are the same; a repetition does nothing."""
    database = await Database.connect(fresh_database_for("tenant").app_url, schema="tenant")
    store = TrustStore(database)

    async def make(slot: str) -> SealedSigningKey:
        return await seal(new_signing_key(), slot, OLD)

    held = await store.ensure_signing_keys(make)
    secret = new_data_key()
    await store.ensure_shared_secret("page tokens", lambda: OLD.wrap(secret, OF_NO_TENANT))
    rewrapping = Rewrapping(store, BOTH)
    assert (await rewrapping.status()).uses == {"kek-1": 3}
    assert (await rewrapping.rewrap()).uses == {"kek-2": 3}
    wraps = await store.wrapped()
    assert (await rewrapping.rewrap()).uses == {"kek-2": 3}
    assert await store.wrapped() == wraps
    again = await store.ensure_signing_keys(make)
    for slot, sealed in held.items():
        assert (await open_sealed(again[slot], NEW)).jwk == (await open_sealed(sealed, OLD)).jwk
    stored = await store.ensure_shared_secret("page tokens", lambda: NEW.wrap(new_data_key(), OF_NO_TENANT))
    assert await NEW.unwrap(stored, OF_NO_TENANT) == secret
    await database.close()
