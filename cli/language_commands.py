"""`rapport language …`: what texts say, and how well a model of it does; nothing needs to run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Json
from cli.output import print_json, print_lines, print_table

commands = typer.Typer(help="Measure the model of texts.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Measure the model of texts."""


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
