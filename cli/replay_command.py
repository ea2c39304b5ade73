"""`rapport replay-policy`: a shop's own past under each policy of the inbox."""

from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder


def register(commands: typer.Typer) -> None:
    """Add the command."""
    commands.command("replay-policy")(replay_policy)


def replay_policy(
    *,
    tenant: Tenant,
    days: Annotated[int, typer.Option(min=1, max=366, help="Tickets that were opened in the last so many days.")] = 30,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show what a shop's past would have been under each policy; nothing is changed.

    The questions of its customers are answered again, at the moments at which agents really answered, but in the order
    of each policy. `history` is what really happened, `current` the policy that the inbox has now.
    """
    from cli.operator import run
    from cli.replays import replay

    found = run(replay(suite_folder(data), tenant, days))
    if as_json:
        print_json(found)
        return
    if not found["questions"]:
        print_lines(f"No question of the last {days} days has been answered.")
        return
    priorities = [waits["priority"] for waits in found["outcomes"][0]["waits"]]
    columns = [("policy", "left"), ("late", "right"), ("cost", "right")]
    columns += [(f"p95 h {priority}", "right") for priority in priorities]
    print_table("", columns, [_row(outcome) for outcome in found["outcomes"]])
    print_lines(f"{found['questions']} questions; current is {found['policy']}; cost is relative to what happened.")
    if not found["complete"]:
        print_lines("There were more; these are the newest.")


def _row(outcome: dict[str, Any]) -> list[str]:
    waits = [f"{float(one['p95_hours']):.1f}" for one in outcome["waits"]]
    return [outcome["name"], str(outcome["missed"]), f"{float(outcome['cost_ratio']):.2f}", *waits]
