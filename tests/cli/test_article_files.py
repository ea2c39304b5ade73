"""Pages of folders and dumps: what is read of them, and what is said of those that cannot be read."""

import json
from pathlib import Path

import pytest

from cli.article_files import MAX_BYTES, Content, Reading
from cli.errors import CommandError


def write(folder: Path, **files: bytes | str) -> Path:
    """Write files by their names, in which `__` stands for a dot and `___` for a slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_a_folder_is_read_with_what_pages_say_of_themselves(tmp_path: Path) -> None:
    """Front matter, formats by their names, and links from where the pages stand; other files are passed over."""
    write(
        tmp_path,
        returns__md="---\ntitle: Returns\nkind: policy\nlanguage: en\n---\nThirty days.",
        help___index__html="<h1>Help</h1>",
        help___care__html="<h1>Care</h1>",
        notes__txt="Notes",
        picture__png=b"\x89PNG",
        __hidden___x__md="# X",
    )
    reading = Reading(base_url="https://shop.example/")
    pages = {page.source: page for page in reading.pages(tmp_path)}
    assert sorted(pages) == ["help/care.html", "help/index.html", "notes.txt", "returns.md"]
    assert not reading.refused
    assert (pages["returns.md"].title, pages["returns.md"].kind) == ("Returns", "policy")
    assert pages["help/care.html"].format == Content.FORMAT_HTML
    assert pages["help/care.html"].url == "https://shop.example/help/care.html"
    assert pages["help/index.html"].url == "https://shop.example/help"
    assert pages["returns.md"].url == "https://shop.example/returns"


def test_a_dump_of_pages_is_read(tmp_path: Path) -> None:
    """JSON as a helpdesk exports it, and JSON Lines; entries without text or name are told with their place."""
    helpdesk = {"articles": [{"id": 7, "title": "Care", "body": "<p>Dry cloth</p>", "html_url": "https://x/7"}]}
    lines = [
        json.dumps({"url": "https://x/1", "markdown": "# One", "locale": "en-us"}),
        "",
        "{broken",
        json.dumps({"url": "https://x/2"}),
        json.dumps({"text": "nameless"}),
        json.dumps(["no object"]),
        json.dumps({"id": "half", "text": "\ud800"}),
        json.dumps({"id": "draft", "text": "Later", "draft": True}),
    ]
    write(tmp_path, dump__json=json.dumps(helpdesk), dump__jsonl="\n".join(lines))
    reading = Reading()
    (care,) = reading.pages(tmp_path / "dump.json")
    assert (care.source, care.title, care.url, care.format) == ("7", "Care", "https://x/7", Content.FORMAT_HTML)
    found = list(reading.pages(tmp_path / "dump.jsonl"))
    assert [(page.source, page.language, page.status) for page in found] == [
        ("https://x/1", "en", ""),
        ("draft", "", "draft"),
    ]
    assert [source for source, _ in reading.refused] == ["line 3", "line 4", "line 5", "line 6", "line 7"]


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        ("caf\u00e9".encode("utf-8-sig"), "", "caf\u00e9"),
        ("caf\u00e9".encode("utf-16"), "", "caf\u00e9"),
        ("caf\u00e9".encode("latin-1"), "latin-1", "caf\u00e9"),
        (b'<meta charset="iso-8859-1"><p>caf\xe9', "", '<meta charset="iso-8859-1"><p>caf\u00e9'),
    ],
)
def test_encodings_that_are_known_are_read(tmp_path: Path, content: bytes, encoding: str, expected: str) -> None:
    """By the byte order mark, by what the page says, or by what the operator says."""
    (page,) = Reading(encoding=encoding).pages(write(tmp_path, a__html=content))
    assert page.body.removeprefix("\ufeff") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"one\ntwo \xe9", "line 2: byte 0xe9 is no UTF-8"),
        (b"x" * (10 * 1024 * 1024), f"10,485,760 bytes; a page has at most {MAX_BYTES:,}"),
        (b"PK\x00\x01", "no"),
        (b'<meta charset="klingon"> \xe9', "there is no encoding klingon"),
        (b'<meta charset="ascii"> \xe9', "not written in ascii"),
    ],
)
def test_pages_that_cannot_be_read_are_told_and_stop_no_other(tmp_path: Path, content: bytes, expected: str) -> None:
    """Each with its reason."""
    reading = Reading()
    found = list(reading.pages(write(tmp_path, bad__html=content, good__html="<h1>Good</h1>")))
    assert [page.source for page in found] == ["good.html"]
    ((source, reason),) = reading.refused
    assert source == "bad.html"
    assert expected in reason


def test_front_matter_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    """And so is none at all taken for one."""
    reading = Reading()
    pages = list(reading.pages(write(tmp_path, a__md="---\n{: [\n---\nText", b__md="---\nno end", c__md="Text")))
    assert [page.source for page in pages] == ["b.md", "c.md"]
    assert [source for source, _ in reading.refused] == ["a.md"]


@pytest.mark.parametrize("name", ["nothing", "a.pdf", "broken.json"])
def test_what_is_no_page_at_all_is_an_error(tmp_path: Path, name: str) -> None:
    """A path that is not there, a kind of file that is not read, a dump that is none."""
    write(tmp_path, a__pdf="%PDF", broken__json="{")
    with pytest.raises(CommandError):
        list(Reading().pages(tmp_path / name))


def test_drafts_stay_drafts(tmp_path: Path) -> None:
    """Whether a page says so by `draft`, by `published` or by its status."""
    write(
        tmp_path,
        a__md="---\ndraft: true\n---\nText",
        b__md="---\npublished: false\n---\nText",
        c__md="---\nstatus: draft\n---\nText",
        d__md="---\ndraft: false\n---\nText",
    )
    pages = {page.source: page.status for page in Reading().pages(tmp_path)}
    assert pages == {"a.md": "draft", "b.md": "draft", "c.md": "draft", "d.md": ""}


def test_links_out_of_the_folder_are_passed_over(tmp_path: Path) -> None:
    """And so are broken ones; those within it are pages."""
    folder = write(tmp_path / "pages", in__md="# In")
    write(tmp_path, secret__md="# Secret", other___x__md="# Other")
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "outer").symlink_to(tmp_path / "other")
    (folder / "broken.md").symlink_to(tmp_path / "nowhere.md")
    (folder / "loop.md").symlink_to(folder / "loop.md")
    (folder / "same.md").symlink_to(folder / "in.md")
    reading = Reading()
    assert [page.source for page in reading.pages(folder)] == ["in.md", "same.md"]
    assert not reading.refused


def test_a_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    """Here it is gone before its turn comes; it is told with its reason."""
    write(tmp_path, a__md="# A", b__md="# B", c__md="# C")
    reading = Reading()
    pages = reading.pages(tmp_path)
    assert next(pages).source == "a.md"
    (tmp_path / "b.md").unlink()
    assert [page.source for page in pages] == ["c.md"]
    assert reading.refused == [("b.md", "it cannot be read: No such file or directory")]


def test_a_name_of_too_many_bytes_is_refused(tmp_path: Path) -> None:
    """Cut, it might be the name of another page."""
    lines = [json.dumps({"id": "\u4e2d" * count, "text": "Text"}) for count in (333, 334)]
    reading = Reading()
    (page,) = reading.pages(write(tmp_path, dump__jsonl="\n".join(lines)) / "dump.jsonl")
    assert len(page.source) == 333
    assert reading.refused == [("line 2", "its name has 1,002 bytes; it may have 1,000")]
