"""Tries a connection: says precisely what works, what is wrong, and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import structlog

from services.crm.accounts import Accounts
from services.crm.address_store import AccountOwner
from services.crm.apps import Account as VendorAccount
from services.crm.calling.account import Account
from services.crm.calling.engine import Calling
from services.crm.errors import AccountTakenError, ConnectionNotFoundError
from services.crm.providers import PROVIDERS
from services.crm.providers.api import ApiError, CredentialShape

_log = structlog.get_logger(__name__)

CHECKS = ("settings", "credentials", "login", "account", "ownership")
"""What is checked, in this order."""

PATIENCE = 10.0
"""How many seconds a test waits for the vendor."""


_NO_LONGER = frozenset({"CREDENTIALS_REFUSED", "CREDENTIALS_MISSING", "RENEWAL_REFUSED"})
"""By these a connection's credentials do not answer for its account any more; all other failures may pass."""


class Result(StrEnum):
    """How a check came out."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; `reason` is a fixed word, `detail` and `advice` are sentences without secrets."""

    check: str
    outcome: Result
    detail: str
    reason: str = ""
    advice: str = ""


_ADVICE: Mapping[str, str] = {
    "SETTING_MISSING": "Set it: rapport connection update --config NAME=VALUE.",
    "HOST_NOT_ALLOWED": "Correct the setting that names the host; only the provider's own hosts are called.",
    "HOST_UNKNOWN": "Check the spelling of the account's name in the settings, and this machine's name server.",
    "ADDRESS_NOT_PUBLIC": "Check the name server of this machine: the provider's host must lead to a public address.",
    "CERTIFICATE_INVALID": "Check this machine's network: something stands between it and the vendor.",
    "CREDENTIALS_MALFORMED": "Store the credential again, without line ends or blanks around it.",
    "VENDOR_UNREACHABLE": "Check that this machine may connect to the internet, then the vendor's status page.",
    "VENDOR_TOO_SLOW": "Try again later; check the vendor's status page.",
    "VENDOR_FAILING": "Try again later; check the vendor's status page.",
    "ANSWER_LOST": "Try again; a proxy between this machine and the vendor may cut connections.",
    "RATE_LIMITED": "Wait: the account's limit of calls is used up, maybe by another program.",
    "CREDENTIALS_REFUSED": "Make a new credential at the vendor and store it: rapport connection update --secret.",
    "RENEWAL_REFUSED": "Authorize Rapport anew at the vendor and store the new refresh token.",
    "RENEWAL_UNDER_WAY": "Try again in a minute.",
    "PERMISSION_MISSING": "Give the credential's user or app the right to read tickets.",
    "NOT_FOUND": "Check the account's name in the settings: the vendor answers, but knows no such account or API.",
    "REDIRECTED": "Check the account's name in the settings: it may have been renamed.",
    "ANSWER_NOT_UNDERSTOOD": "Check that the host is the vendor's API; its answer has not the documented form.",
    "CALL_REFUSED": "Check the settings; the vendor calls the request malformed.",
}


class Trial:
    """Tests connections by calling their providers."""

    def __init__(self, calling: Calling, accounts: Accounts) -> None:
        self._calling = calling
        self._accounts = accounts

    async def of(self, tenant_id: UUID, connection_id: UUID) -> Sequence[Finding]:
        """Return what is found about a connection, one finding for each check.

        Raises:
            ConnectionNotFoundError: the tenant has no such connection.
        """
        try:
            account = await self._calling.account(tenant_id, connection_id)
        except ApiError as error:
            return _without_api(error)
        findings = [_settings(account), _credentials(account)]
        if not _failed(findings):
            login, answered = await self._login(account)
            findings.append(login)
            if not _failed(findings):
                findings.append(_account(account, answered))
            if not _failed(findings):
                findings.append(await self._ownership(account, answered))
        skipped = [Finding(check, Result.SKIPPED, "Something before it failed.") for check in CHECKS[len(findings) :]]
        return [*findings, *skipped]

    async def _login(self, account: Account) -> tuple[Finding, str]:
        """Ask the vendor whose credentials these are."""
        try:
            answered = await self._calling.run(
                account.tenant_id,
                account.connection_id,
                lambda api, config: api.account(config),
                patience=PATIENCE,
                afresh=True,
            )
        except ApiError as error:
            detail = f"Asked {account.api.origin(account.config)} whose credentials these are: {_sentence(error)}"
            return _failure("login", error, detail), ""
        return Finding("login", Result.PASSED, f"{account.api.origin(account.config)} takes the credentials."), answered

    async def _ownership(self, account: Account, answered: str) -> Finding:
        """Remember that the connection speaks for its account, where deliveries are told apart by that."""
        if not PROVIDERS[account.provider].app_level or not answered:
            return Finding(
                "ownership", Result.SKIPPED, "This provider's webhooks come by the connection's own address."
            )
        try:
            await self._prove(account, VendorAccount(account.provider, answered))
        except AccountTakenError as error:
            return Finding(
                "ownership",
                Result.FAILED,
                f"Account {answered} belongs to another connection: what an app signs for it goes there.",
                error.reason,
                "Delete the other connection, or connect another account.",
            )
        return Finding(
            "ownership", Result.PASSED, f"What an app signs for account {answered} comes to this connection."
        )

    async def _prove(self, account: Account, owned: VendorAccount) -> None:
        """Claim an account for the connection; from an owner that cannot prove it any more it is taken.

        Raises:
            AccountTakenError: another connection has it, and proved that again or could not be asked.
        """
        try:
            await self._accounts.prove(account.tenant_id, account.connection_id, owned)
        except AccountTakenError:
            owner = await self._accounts.owner(owned)
            if owner is not None:
                if await self._still_owns(owner, owned):
                    raise
                _log.warning("account_handed_over", of=str(owner.connection_id), to=str(account.connection_id))
                await self._accounts.release(owner, owned)
            await self._accounts.prove(account.tenant_id, account.connection_id, owned)

    async def _still_owns(self, owner: AccountOwner, owned: VendorAccount) -> bool:
        """Ask the vendor by the owner's credentials; only its clear answer that they are not the account's counts."""
        try:
            answered = await self._calling.run(
                owner.tenant_id, owner.connection_id, lambda api, config: api.account(config), patience=PATIENCE
            )
        except (ConnectionNotFoundError, KeyError):
            return False
        except ApiError as error:
            return error.reason not in _NO_LONGER
        return answered in {"", owned.id}


def _settings(account: Account) -> Finding:
    try:
        origin = account.api.origin(account.config)
    except ApiError as error:
        return _failure("settings", error, f"The API's address cannot be made: {_sentence(error)}")
    return Finding("settings", Result.PASSED, f"The API is at {origin}.")


def _credentials(account: Account) -> Finding:
    """Return which way to log in is complete; for none, what each of them lacks."""
    lacking = {shape.name: _missing(shape, account) for shape in account.api.shapes}
    for name, missing in lacking.items():
        if not missing:
            return Finding("credentials", Result.PASSED, f"All fields of {name} are set.")
    ways = "; or ".join(f"{name}: {', '.join(missing)}" for name, missing in lacking.items())
    return Finding(
        "credentials",
        Result.FAILED,
        f"No way to log in is complete. Missing are, {ways}.",
        "CREDENTIALS_MISSING",
        "Set what is missing for one of them: rapport connection update --config … --secret-stdin ….",
    )


def _missing(shape: CredentialShape, account: Account) -> list[str]:
    return [
        f"{'secret' if each.secret else 'setting'} {each.name} ({each.description})"
        for each in shape.fields
        if not (account.credentials if each.secret else account.config).get(each.name)
    ]


def _account(account: Account, answered: str) -> Finding:
    """Compare whom the credentials belong to with whom the settings name."""
    setting = PROVIDERS[account.provider].account_setting
    configured = account.config.get(setting, "") if setting else ""
    if setting is None:
        return Finding("account", Result.SKIPPED, "No setting names the account: there is nothing to compare.")
    if not answered:
        return Finding("account", Result.SKIPPED, "The vendor does not say whose credentials these are.")
    if not configured:
        return Finding(
            "account",
            Result.PASSED,
            f"The credentials are those of account {answered}.",
            advice=f"Set {setting}={answered}, so that webhooks about other accounts are refused.",
        )
    if configured != answered:
        return Finding(
            "account",
            Result.FAILED,
            f"The credentials are those of account {answered}, but {setting} is {configured}.",
            "ACCOUNT_MISMATCH",
            f"Set {setting}={answered}, or store the credentials of account {configured}.",
        )
    return Finding("account", Result.PASSED, f"The credentials are those of account {answered}, as configured.")


def _without_api(error: ApiError) -> Sequence[Finding]:
    """Return the findings for a source that only sends."""
    words = f"There is nothing to call: {error.detail}."
    return [Finding(check, Result.SKIPPED, words, error.reason) for check in CHECKS]


def _failure(check: str, error: ApiError, detail: str) -> Finding:
    return Finding(check, Result.FAILED, detail, error.reason, _ADVICE.get(error.reason, ""))


def _sentence(error: ApiError) -> str:
    return f"{error.detail or error.reason}."


def _failed(findings: Sequence[Finding]) -> bool:
    return any(each.outcome is Result.FAILED for each in findings)
