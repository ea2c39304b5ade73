"""`rapport key …` and `rapport signing-key …`: shops' API keys, and the keys that tokens are signed with."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table, say
from cli.spans import span
from cli.suite.folder import suite_folder

commands = typer.Typer(help="Make, list, rotate and revoke a shop's API keys.", no_args_is_help=True)
signing_commands = typer.Typer(help="Show and rotate the keys that tokens are signed with.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]


@commands.command()
def create(
    *,
    tenant: Tenant,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    scope: Annotated[list[str], typer.Option(help="What it may do, e.g. tickets.read; may be repeated.")],
    origin: Annotated[
        list[str] | None,
        typer.Option(help="An origin whose pages may use it, e.g. https://*.example.com: makes a browser key."),
    ] = None,
    requests_per_minute: Annotated[int, typer.Option(min=0, max=1_000_000, help="Its quota; 0 for the default.")] = 0,
    expires_in: Annotated[str, typer.Option(metavar="SPAN", help="How long it lives, e.g. 90d; else for good.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a key, which is shown this once; with --origin it is a browser key for a public page."""
    from rapport.tenant.v1.api_key_pb2 import ApiKey

    from cli.keys import create_key, ends_in
    from cli.operator import run

    kind = ApiKey.KIND_BROWSER if origin else ApiKey.KIND_SECRET
    wanted = ApiKey(
        name=name, scopes=scope, kind=kind, allowed_origins=origin or [], requests_per_minute=requests_per_minute
    )
    if expires_in:
        wanted.expire_time.CopyFrom(ends_in(span("--expires-in", expires_in)))
    _show_new(run(create_key(suite_folder(data), tenant, wanted)), as_json=as_json)


@commands.command("list")
def list_(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """List a shop's keys, the newest first; "last used" is accurate to about a minute."""
    from cli.keys import list_keys
    from cli.operator import run

    keys = run(list_keys(suite_folder(data), tenant))
    if as_json:
        print_json({"api_keys": keys})
        return
    columns = [(name, "left") for name in ("id", "prefix", "name", "kind", "scopes", "last used", "ends")]
    rows = [
        [
            one["id"],
            one["prefix"],
            one["name"],
            _kind(one),
            " ".join(one["scopes"]),
            one.get("last_use_time", "never"),
            f"revoked {one['revoke_time']}" if "revoke_time" in one else one.get("expire_time", "never"),
        ]
        for one in keys
    ]
    print_table("", columns, rows)


@commands.command()
def rotate(
    key: KeyId,
    *,
    tenant: Tenant,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the old key goes on working, e.g. 2h; 0 revokes it at once.")
    ] = "24h",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Make a key that takes another one's place; it is shown this once."""
    from cli.keys import rotate_key
    from cli.operator import run

    made = run(rotate_key(suite_folder(data), tenant, key, span("--overlap", overlap)))
    _show_new(made, as_json=as_json)


@commands.command()
def revoke(key: KeyId, *, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Refuse a key for good, everywhere within a second."""
    from cli.keys import revoke_key
    from cli.operator import run

    revoked = run(revoke_key(suite_folder(data), tenant, key))
    if as_json:
        print_json({"api_key": revoked})
        return
    print_lines(f"Revoked {revoked['name']} ({revoked['prefix']}…).")


@signing_commands.command("list")
def list_signing(*, as_json: Json = False, data: Data = None) -> None:
    """List the published keys: the one that signs, the next one, and those that have signed lately."""
    from cli.keys import list_signing_keys
    from cli.operator import run

    keys = run(list_signing_keys(suite_folder(data)))
    if as_json:
        print_json({"signing_keys": keys})
        return
    columns = [(name, "left") for name in ("kid", "slot", "made", "signs since", "signed until")]
    rows = [
        [
            one["kid"],
            str(one["slot"]).removeprefix("SLOT_").lower(),
            one.get("create_time", ""),
            one.get("activate_time", ""),
            one.get("retire_time", ""),
        ]
        for one in keys
    ]
    print_table("", columns, rows)


@signing_commands.command("rotate")
def rotate_signing(*, as_json: Json = False, data: Data = None) -> None:
    """Let the next key sign from now on; tokens of the one before stay good until they end."""
    from cli.keys import rotate_signing_key
    from cli.operator import run

    rotated = run(rotate_signing_key(suite_folder(data)))
    if as_json:
        print_json({"signing_key": rotated})
        return
    print_lines(f"Tokens are signed with {rotated['kid']} now.")


def _show_new(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"api_key": key})
        return
    print_lines(f"Made {key['name']} ({key['id']}), a {_kind(key)} key.", f"API key: {key['key']}")
    say("The key is shown this once: keep it now.")


def _kind(key: dict[str, Any]) -> str:
    return str(key["kind"]).removeprefix("KIND_").lower()
