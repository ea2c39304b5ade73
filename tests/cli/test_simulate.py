"""`rapport simulate`: the comparison as a table, as JSON and as a picture, without a running suite."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import parse

from services.tickets.simulation.study import EVERY

RAPPORT = str(Path(sys.executable).parent / "rapport")


def simulate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command."""
    return subprocess.run([RAPPORT, "simulate", *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_two_runs_of_a_scenario_give_json_and_a_picture(tmp_path: Path) -> None:
    """The ratios are flat, every policy has its figures, and the plot is an SVG."""
    plot = tmp_path / "plot.svg"
    done = simulate("--scenario", "B", "--runs", "2", "--plot", str(plot), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == {"B.wtard", "B.cod"}
    assert found["overtaken_hours"] <= found["bound_hours"]
    assert {"rapport", "predecessor", "FIFO", "EDF"} <= set(found["scenarios"]["B"]["policies"])
    assert parse(plot).getroot().tag.endswith("svg")  # noqa: S314 - our own file


def test_the_same_seed_gives_the_same_table() -> None:
    """A person reads one row for each policy, and what follows for the default; it can be repeated exactly."""
    first, again = (simulate("--scenario", "D", "--runs", "2", "--seed", "7") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    assert "| rapport |" in first.stdout
    assert "ours - predecessor" in first.stdout


def test_the_help_names_every_scenario() -> None:
    """Nobody has to guess the names of those that are not run by themselves."""
    done = simulate("--help")
    words = done.stdout.replace(",", " ").replace(".", " ").split()
    assert set(EVERY) <= set(words)


def test_a_plot_that_cannot_be_written_is_noticed_before_the_simulation(tmp_path: Path) -> None:
    """Nobody waits for minutes and loses them."""
    module = [sys.executable, "-m", "services.tickets.simulation", "--runs", "1000"]
    plot = str(tmp_path / "no" / "x.svg")
    done = subprocess.run([*module, "--plot", plot], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "argument --plot" in done.stderr
    assert not any(line.split()[0].isdecimal() for line in done.stderr.splitlines() if line.strip())


def test_what_cannot_be_simulated_is_refused_in_one_line(tmp_path: Path) -> None:
    """An unknown scenario and a folder that is not there are wrong usage, said without a traceback."""
    for arguments in (
        ("--scenario", "Z"),
        ("--runs", "2", "--scenario", "F", "--plot", str(tmp_path / "no" / "x.svg")),
    ):
        done = simulate(*arguments, "--json")
        assert done.returncode == 2, done.stderr
        error = json.loads(done.stdout)["error"]
        assert error["reason"] == "USAGE"
        assert "Traceback" not in done.stderr
