"""`rapport model …`: what a shop's customers are judged by, what it is worth, and the way back."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What a shop's customers are judged by, and the way back.", no_args_is_help=True)

_COLUMNS = [("version", "right"), ("name", "left"), ("", "left"), ("made", "left"), ("verdict", "left")]
_TRIALS = [
    ("held back from", "left"),
    ("days", "right"),
    ("customers", "right"),
    ("model", "left"),
    ("AUC", "right"),
    ("Brier", "right"),
    ("ECE", "right"),
]


@commands.callback()
def model() -> None:
    """What a shop's customers are judged by, and the way back."""


@commands.command("list")
def list_(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """List the versions of the model, newest first, and how the making of the next one stands."""
    from cli.models import list_models
    from cli.operator import run

    found = run(list_models(suite_folder(data), tenant))
    if as_json:
        print_json(found)
        return
    rows = [
        [str(one["version"]), one["name"], "serves" if one["serving"] else "", one["create_time"], one["verdict"]]
        for one in found["models"]
    ]
    print_table("", _COLUMNS, rows)
    _state(found["fitting"])


@commands.command()
def show(
    version: Annotated[int, typer.Argument(min=0, help="The version; 0 for the one that serves.")] = 0,
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show a version: its parameters, and what it was worth on time that it had not seen."""
    from cli.models import get_model
    from cli.operator import run

    found = run(get_model(suite_folder(data), tenant, version))
    if as_json:
        print_json(found)
        return
    print_lines(f"{found['name']}: {found['verdict']}")
    print_lines(
        f"fitted to {found['customer_count']} customers until {found['fitted_until']}, of whom "
        f"{found['repeat_customer_count']} had come back"
    )
    if not found["dropout_evidence"]:
        print_lines("insufficient evidence of customers leaving for good: the figures are about timing")
    print_lines(", ".join(f"{name} {value:.4g}" for name, value in found["parameters"].items()))
    print_table("", _TRIALS, [row for trial in found["trials"] for row in _trial(trial)])


@commands.command()
def fit(
    *,
    tenant: Tenant,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Wait so many seconds until it has ended.")] = 0,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Let a model be made now, in the background; it serves if it is better on time that is held back."""
    from cli.models import fit_model
    from cli.operator import run

    _tell(run(fit_model(suite_folder(data), tenant, wait=wait)), as_json=as_json)


@commands.command()
def rollback(
    version: Annotated[int, typer.Argument(min=0, help="The version; 0 for the one that served before.")] = 0,
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Judge customers by an earlier version again; no newer one takes its place until a fit is asked for."""
    from cli.models import roll_back
    from cli.operator import run

    _tell(run(roll_back(suite_folder(data), tenant, version)), as_json=as_json)


def _tell(fitting: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(fitting)
        return
    _state(fitting)


def _state(fitting: dict[str, Any]) -> None:
    serving = f"version {fitting['serving_version']}" if fitting["serving_version"] else "the published parameters"
    print_lines(f"{serving} {'is held' if fitting['held'] else 'serves'}")
    if fitting["running"]:
        print_lines("a process is at work on models or profiles")
    if due := fitting.get("due_time"):
        print_lines(f"next fit: {due}")
    if fitting["verdict"]:
        print_lines(f"last fit: {fitting['verdict']}")


def _trial(trial: dict[str, Any]) -> list[list[str]]:
    first = [trial["from_day"], str(trial["day_count"]), str(trial["customer_count"])]
    named = {"bgnbd": trial["bgnbd"], "bgnbd+logistic": trial.get("corrected")}
    rows = [
        [*first, name, *(f"{measures[each]:.4f}" for each in ("auc", "brier", "ece"))]
        for name, measures in named.items()
        if measures
    ]
    return [*rows, [*first, "recency alone", f"{trial['recency_auc']:.4f}", "", ""]]
