"""`rapport language …`: what texts say, and how well a model of it does; nothing needs to run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Data, Json, Tenant
from cli.output import print_json, print_lines, print_table
from cli.suite.folder import suite_folder

commands = typer.Typer(help="What texts say, by a model and by a shop's own keyword rules.", no_args_is_help=True)
rules = typer.Typer(help="A shop's own keyword rules.", no_args_is_help=True)
commands.add_typer(rules, name="rules")


@commands.callback()
def _group() -> None:
    """What texts say, by a model and by a shop's own keyword rules."""


@rules.command()
def show(*, tenant: Tenant, as_json: Json = False, data: Data = None) -> None:
    """Show a shop's keyword rules; until it changes them, those that every shop begins with."""
    from cli.keyword_rules import get_rules
    from cli.operator import run

    _show_rules(run(get_rules(suite_folder(data), tenant)), as_json=as_json)


@rules.command("set")
def set_(
    path: Annotated[Path, typer.Argument(metavar="FILE.json", help="The rules, as `show --json` prints them.")],
    *,
    tenant: Tenant,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Replace a shop's keyword rules; they count for a ticket from its next change on.

    With the `etag` in the file, rules that somebody else has changed meanwhile are not replaced.
    """
    from cli.keyword_rules import read_rules, set_rules
    from cli.operator import run

    _show_rules(run(set_rules(suite_folder(data), tenant, read_rules(path))), as_json=as_json)


@commands.command()
def analyze(
    text: Annotated[str, typer.Argument(help="The customer's message.")],
    *,
    tenant: Tenant,
    subject: Annotated[str, typer.Option(help="The ticket's subject.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag of the ticket; may be repeated.")] = None,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Say what a text says to a shop: intent, urgency, mood, language, and which keyword rules match."""
    from cli.keyword_rules import analyze as ask
    from cli.operator import run

    told = run(ask(suite_folder(data), tenant, subject, text, tag or []))
    if as_json:
        print_json(told)
        return
    words = {name: ", ".join(told.get(f"{name}_words", [])) for name in ("urgent", "upset")}
    print_lines(
        f"Intent: {told['intent']} ({told['confidence']:.0%}); all: {', '.join(told['intents']) or '-'}",
        f"Urgency: {told['urgency']:.2f} {words['urgent']}".rstrip(),
        f"Upset: {told['upset']:.2f} {words['upset']}".rstrip(),
        f"Language: {told['language']}",
        f"Keyword rules: {', '.join(told['keyword_rules']) or '-'}",
    )


def _show_rules(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    rows = [[rule["name"], rule["level"], ", ".join(rule["phrases"])] for rule in told["rules"]]
    print_table("", [("Rule", "left"), ("Level", "left"), ("Phrases", "left")], rows)
    print_lines(f"Member tags: {', '.join(told['member_tags']) or '-'}")


@commands.command()
def evaluate(
    *,
    train: Annotated[
        Path, typer.Option(metavar="FILE", help="Labelled texts: CSV with the columns text,label, or the CLINC JSON.")
    ],
    test: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts to measure on; without them each fifth of the others in turn."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also say what words alone and the most frequent label come to.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit the shipped encoder's head to labelled texts and measure it on others, with a 95 % interval.

    Files may be gzipped. Of a CLINC file, `train` is fitted to and `test` (or, without it, `val`) measured on, and
    texts out of scope are counted apart. It ends with 2 when a file is wrong.
    """
    from cli.language import offline

    arguments = ["--train", str(train), *(["--test", str(test)] if test else [])]
    told = offline("evaluate", *arguments, *(["--baselines"] if baselines else []))
    if as_json:
        print_json(told)
        return
    _show(told)


def _show(told: dict[str, Any]) -> None:
    rows = [["this encoder", *_share(told)]]
    names = {"words_only": "words alone", "most_frequent_label": "most frequent label"}
    rows += [[names[name], *_share(share)] for name, share in told.get("baselines", {}).items()]
    print_table("", [("Model", "left"), ("Accuracy", "right"), ("95 % interval", "right")], rows)
    print_lines(
        f"{told['test_texts']} texts, {told['labels']} labels; {told['split']}.",
        f"Macro F1 {told['macro_f1']:.3f}; calibration error {told['calibration_error']:.3f}"
        f" (uncalibrated {told['calibration_error_before']:.3f}).",
        f"Fitted in {told['fit_seconds']} s; {told['microseconds_per_text']} microseconds a text.",
    )
    if "out_of_scope" in told:
        print_lines(
            f"Out of scope: {told['out_of_scope']['texts']} texts, told from the others by how sure the model is with"
            f" an area under the curve of {told['out_of_scope']['auroc']:.3f}."
        )
    if told["most_confused"]:
        wrong = [[one["label"], one["taken_for"], str(one["times"])] for one in told["most_confused"]]
        print_table("Most confused", [("Label", "left"), ("Taken for", "left"), ("Times", "right")], wrong)


def _share(told: dict[str, Any]) -> list[str]:
    return [f"{told['accuracy']:.3f}", f"{told['interval'][0]:.3f} to {told['interval'][1]:.3f}"]
