"""Log files stay bounded and can be read back."""

from pathlib import Path

from cli.suite.log_files import Follower, cut_when_long, last_lines


def test_a_long_log_starts_again_and_its_follower_goes_on(tmp_path: Path) -> None:
    """The old text moves to `.1`, and neither the writer nor a reader has to open anything anew."""
    path = tmp_path / "tickets.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"one\ntwo\n")
        follower = Follower(path)
        writer.write(b"three\nfo")
        assert list(follower.new_lines()) == ["three"]
        cut_when_long(path, bound=5)
        writer.write(b"five\n")
        assert list(follower.new_lines()) == ["five"]
    assert path.read_bytes() == b"five\n"
    assert (tmp_path / "tickets.log.1").read_bytes() == b"one\ntwo\nthree\nfo"


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    """Nothing is copied below the bound."""
    path = tmp_path / "tickets.log"
    path.write_bytes(b"one\n")
    cut_when_long(path, bound=5)
    assert [found.name for found in tmp_path.iterdir()] == ["tickets.log"]


def test_the_last_lines_are_read_from_the_end(tmp_path: Path) -> None:
    """Also where they are longer than a block, and where there are fewer than asked for."""
    path = tmp_path / "tickets.log"
    path.write_text("first\n" + "x" * 100_000 + "\nlast\n", encoding="utf-8")
    assert last_lines(path, 1) == ["last"]
    assert last_lines(path, 2) == ["x" * 100_000, "last"]
    assert last_lines(path, 9)[0] == "first"
    assert last_lines(path, 0) == []
