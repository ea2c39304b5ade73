"""The entry point of the `rapport` command: all commands, and the one place where errors become exit codes."""

import signal
import sys

import typer

from cli import (
    action_policy_commands,
    app_commands,
    article_commands,
    audit_command,
    backup_commands,
    cache_commands,
    certificate_commands,
    connection_commands,
    currency_commands,
    customer_commands,
    database_commands,
    delivery_commands,
    demo_command,
    deployment_commands,
    doctor_command,
    domain_commands,
    draft_commands,
    evaluate_command,
    finding_commands,
    gateway_commands,
    key_commands,
    language_commands,
    migrate_commands,
    model_commands,
    order_commands,
    policy_commands,
    product_commands,
    replay_command,
    sealing_commands,
    simulate_command,
    sla_commands,
    suite_commands,
    sync_commands,
    tenant_commands,
    ticket_commands,
    webhook_commands,
    work_commands,
    writing_commands,
)
from cli.errors import CommandError
from cli.output import print_error

commands = typer.Typer(
    name="rapport",
    help="Run Rapport on this machine and do an operator's work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
suite_commands.register(commands)
commands.add_typer(tenant_commands.commands, name="tenant")
commands.add_typer(key_commands.commands, name="key")
commands.add_typer(key_commands.signing_commands, name="signing-key")
commands.add_typer(sealing_commands.commands, name="keys")
commands.add_typer(domain_commands.commands, name="domain")
commands.add_typer(connection_commands.commands, name="connection")
commands.add_typer(app_commands.commands, name="app")
commands.add_typer(webhook_commands.commands, name="webhook")
commands.add_typer(customer_commands.commands, name="customer")
commands.add_typer(currency_commands.commands, name="currency")
commands.add_typer(delivery_commands.commands, name="deliveries")
commands.add_typer(sync_commands.commands, name="sync")
work_commands.register(ticket_commands.commands)
finding_commands.register(ticket_commands.commands)
commands.add_typer(ticket_commands.commands, name="ticket")
commands.add_typer(finding_commands.commands, name="alert")
commands.add_typer(policy_commands.commands, name="policy")
commands.add_typer(action_policy_commands.commands, name="action-policy")
commands.add_typer(action_policy_commands.recommendations, name="recommendation")
commands.add_typer(sla_commands.sla, name="sla")
commands.add_typer(sla_commands.calendar, name="calendar")
commands.add_typer(order_commands.commands, name="orders")
commands.add_typer(product_commands.commands, name="product")
commands.add_typer(draft_commands.commands, name="draft")
commands.add_typer(writing_commands.commands, name="writing")
commands.add_typer(article_commands.commands, name="article")
commands.add_typer(gateway_commands.commands, name="gateway")
commands.add_typer(deployment_commands.commands, name="deployment")
commands.add_typer(certificate_commands.commands, name="certificates")
commands.add_typer(language_commands.commands, name="language")
commands.add_typer(model_commands.commands, name="model")
commands.add_typer(migrate_commands.commands, name="migrate")
commands.add_typer(backup_commands.commands, name="backup")
commands.add_typer(database_commands.commands, name="db")
commands.add_typer(cache_commands.commands, name="cache")
audit_command.register(commands)
evaluate_command.register(commands)
simulate_command.register(commands)
replay_command.register(commands)
doctor_command.register(commands)
demo_command.register(commands)


def app() -> None:
    """Run the command line; ends the process with 0, 1 for a failure, 2 for wrong usage or 130 for Ctrl-C."""
    # A shell's background job inherits an ignored Ctrl-C; a command that waits for it must hear it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        commands()
    except CommandError as error:
        print_error(error, as_json="--json" in sys.argv)
        sys.exit(2 if error.reason == "USAGE" else 1)


if __name__ == "__main__":
    app()
