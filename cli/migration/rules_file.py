"""An operator's file of rules (YAML): which shop stores, tenants, accounts, customers and tickets belong to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.migration.mapping import CustomerRule, Rules, TicketRule, account
from cli.migration.rows import SourceTenant

SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?", re.ASCII)
_MAPS = ("stores", "tenants", "accounts", "channels", "statuses", "priorities")
_KNOWN = frozenset({*_MAPS, "one_shop", "customers", "tickets", "currency", "net"})


def read_rules(path: Path | None) -> Rules:
    """Read the file; without one there are no rules.

    Raises:
        CommandError: it cannot be read, or says something that nobody understands.
    """
    if path is None:
        return Rules()
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read the rules {path}.", reason="FILE_UNREADABLE") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CommandError(f"{path} is no YAML.", reason="RULES_INVALID") from error
    if not isinstance(found, dict):
        raise _wrong("the file", "is a list of names and values")
    if unknown := sorted(str(name) for name in found if name not in _KNOWN):
        raise _wrong(unknown[0], f"is none of {', '.join(sorted(_KNOWN))}")
    return _rules(found)


def with_options(rules: Rules, stores: Sequence[tuple[str, str]], one_shop: str) -> Rules:
    """Add what `--store` and `--one-shop` say.

    Raises:
        CommandError: they contradict the file, or a slug cannot be one.
    """
    told = dict(rules.stores)
    for store, slug in stores:
        if told.setdefault(store, slug) != slug:
            raise CommandError(f"--store {store}: the file of rules says {told[store]}.", reason="USAGE")
        _slug("--store", slug)
    if one_shop:
        if rules.one_shop not in ("", one_shop):
            raise CommandError(f"--one-shop: the file of rules says {rules.one_shop}.", reason="USAGE")
        rules = replace(rules, one_shop=_slug("--one-shop", one_shop))
    return replace(rules, stores=told)


def with_tenants(rules: Rules, tenants: Sequence[SourceTenant]) -> Rules:
    """Add what the predecessor's own tenants say: store, tenant and account of each one that was served.

    What the operator said stays; a tenant that is not active, or whose slug Rapport does not take, needs their word:
    its accounts are known as nobody's, so that no ticket of theirs goes to another shop.
    """
    by_tenant = dict(rules.tenants)
    stores = dict(rules.stores)
    accounts = {_account(name): slug for name, slug in rules.accounts.items()}
    for tenant in tenants:
        slug = by_tenant.get(tenant.id) or by_tenant.get(tenant.slug) or stores.get(tenant.store_id, "")
        if not slug and tenant.active and SLUG.fullmatch(tenant.slug):
            slug = tenant.slug
        for name, value in tenant.identifiers.items():
            if value and not accounts.get(account(name, value)):
                accounts[account(name, value)] = slug
        if not slug:
            continue
        by_tenant[tenant.id] = slug
        if tenant.store_id:
            stores.setdefault(tenant.store_id, slug)
    return replace(rules, tenants=by_tenant, stores=stores, accounts=accounts)


def _rules(found: Mapping[str, Any]) -> Rules:
    maps = {name: _pairs(name, found.get(name) or {}) for name in _MAPS}
    for name in ("stores", "tenants", "accounts"):
        for slug in maps[name].values():
            _slug(name, slug)
    one_shop, currency = str(found.get("one_shop") or ""), str(found.get("currency") or "")
    if one_shop:
        _slug("one_shop", one_shop)
    return Rules(
        one_shop=one_shop,
        currency=currency.upper(),
        net=bool(found.get("net")),
        customers=tuple(_customer_rule(number, one) for number, one in enumerate(_list(found, "customers"), 1)),
        tickets=tuple(_ticket_rule(number, one) for number, one in enumerate(_list(found, "tickets"), 1)),
        stores=maps["stores"],
        tenants=maps["tenants"],
        accounts=maps["accounts"],
        channels=maps["channels"],
        statuses=maps["statuses"],
        priorities=maps["priorities"],
    )


def _customer_rule(number: int, one: Mapping[str, Any]) -> CustomerRule:
    place = f"customers, entry {number}"
    slug = _slug(place, str(one.get("shop") or ""))
    given = one.keys() - {"shop"}
    if given == {"id"}:
        return CustomerRule(slug, id=str(one["id"]))
    if given == {"prefix"} and one["prefix"]:
        return CustomerRule(slug, prefix=str(one["prefix"]))
    if given == {"from", "to"}:
        try:
            first, last = int(one["from"]), int(one["to"])
        except (TypeError, ValueError):
            raise _wrong(place, "has whole numbers in from and to") from None
        if first <= last:
            return CustomerRule(slug, first=first, last=last)
    raise _wrong(place, "has a shop and one of id, prefix, and from with to")


def _ticket_rule(number: int, one: Mapping[str, Any]) -> TicketRule:
    place = f"tickets, entry {number}"
    slug = _slug(place, str(one.get("shop") or ""))
    given = one.keys() - {"shop"}
    if given == {"tag"} and one["tag"]:
        return TicketRule(slug, tag=str(one["tag"]))
    if given == {"field", "value"} and one["field"]:
        return TicketRule(slug, field=str(one["field"]), value=str(one["value"]))
    raise _wrong(place, "has a shop and one of tag, and field with value")


def _pairs(place: str, found: Any) -> dict[str, str]:
    if not isinstance(found, dict):
        raise _wrong(place, "is a list of names and values")
    return {str(name): str(value) for name, value in found.items()}


def _list(found: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = found.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise _wrong(name, "is a list of rules")
    return value


def _slug(place: str, text: str) -> str:
    if not SLUG.fullmatch(text):
        raise _wrong(place, f"names a shop by lower-case letters, digits and inner hyphens, not {text[:60]!r}")
    return text


def _account(text: str) -> str:
    name, equals, value = text.partition("=")
    if not equals:
        raise _wrong("accounts", "are written as gorgias_domain=harbour")
    return account(name, value)


def _wrong(place: str, expected: str) -> CommandError:
    return CommandError(f"Rules: {place} {expected}.", reason="RULES_INVALID")
