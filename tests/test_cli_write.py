"""`optimize --write`: the accepted texts in the users' own files."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from project import BETTER, START, Project, Pupil, project
from wordgrad.cli.write import replace_all
from wordgrad.errors import UsageError
from wordgrad.testing import RuleEngine

__all__ = ["project"]


def test_the_files_own_ways_are_kept(tmp_path: Path) -> None:
    """Mode, line endings, and whether the last line has one stay as they were."""
    bare, crlf, private = tmp_path / "bare", tmp_path / "crlf", tmp_path / "private"
    bare.write_bytes(b"old")
    crlf.write_bytes(b"old\r\nold\r\n")
    private.write_bytes(b"old\n")
    private.chmod(0o600)

    replace_all({bare: "one\ntwo", crlf: "one\ntwo", private: "日本 👋"})

    assert (bare.read_bytes(), crlf.read_bytes()) == (b"one\ntwo", b"one\r\ntwo\r\n")
    assert private.read_text(encoding="utf-8") == "日本 👋\n"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bare", "crlf", "private"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a link points to is written, in its own folder; the link is not replaced."""
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "prompt.txt", tmp_path / "prompt.txt"
    file.write_text("old\n")
    link.symlink_to(file)

    replace_all({link: "new"})

    assert (link.is_symlink(), file.read_text()) == (True, "new\n")


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_of_several_files_all_are_written_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Wherever a disk gives up, every file is as it was, and nothing lies beside it."""
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(f"old {file.name}\n")
    monkeypatch.setattr(os, "replace", failing_at(failing, os.replace))

    with pytest.raises(UsageError, match=rf"{'abc'[failing - 1]} cannot be written: disk full"):
        replace_all(dict.fromkeys(files, "new"))

    assert [file.read_text() for file in files] == ["old a\n", "old b\n", "old c\n"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b", "c"]


def failing_at(number: int, replace: Callable[..., None]) -> Callable[..., None]:
    """`os.replace` that fails at its n-th call only."""
    calls = 0

    def counted(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(28, "disk full")
        replace(*arguments)

    return counted


@pytest.mark.parametrize(("text", "words"), [("new", "none cannot be written: No such file"), ("\ud800", "surrogates")])
def test_what_cannot_be_written_is_found_before_anything_is(tmp_path: Path, text: str, words: str) -> None:
    """A missing file and a text without a UTF-8 form leave the others alone."""
    file, other = tmp_path / "file", tmp_path / ("none" if text == "new" else "other")
    for each in (file, *((other,) if text != "new" else ())):
        each.write_text("old\n")

    with pytest.raises(UsageError, match=words):
        replace_all({file: "new", other: text})

    assert file.read_text() == "old\n"


def test_only_what_changed_is_written(project: Project) -> None:
    """A text that was kept stays untouched, its time of change too."""
    project.engine(Pupil({"value": "Say it slowly."}))
    before = project.prompt.stat()

    code, out, _ = project.run("optimize", project.config, "--write")

    assert (code, "wrote " in out, project.prompt.stat().st_mtime_ns) == (0, False, before.st_mtime_ns)


def test_what_was_written_is_named(project: Project) -> None:
    """The file is in the last lines."""
    _, out, _ = project.run("optimize", project.config, "--write")

    assert f"wrote {project.prompt}\n" in out
    assert project.prompt.read_text(encoding="utf-8") == BETTER + "\n"


@pytest.mark.parametrize("program", [False, True])
def test_write_needs_files(project: Project, program: bool) -> None:
    """A text that stands in the configuration, or in a Module, has no file: that is said before anything is paid."""
    engine = RuleEngine(lambda _: AssertionError("asked"), name="fake")
    project.engine(engine)
    if program:
        source = project.config.read_text(encoding="utf-8").split("[variables.prompt]")
        data = source[1].split("\n\n", 1)[1]
        project.config.write_text(f'program = "own:Module"\n{data}', encoding="utf-8")
        words = "wordgrad.toml:1: program: --write needs a prompt file, and the variables are the Module's own"
    else:
        project.change('file = "prompt.txt"', 'text = "Say it."')
        words = "wordgrad.toml:13: variables.prompt: --write needs a file here, instead of text"

    code, _, err = project.run("optimize", project.config, "--write")

    assert (code, engine.history, words in err) == (2, (), True), err


def test_a_written_prompt_does_not_change_its_run(project: Project) -> None:
    """A run that is resumed has the start that it began with, though its file holds the end by now."""
    first = project.json("optimize", project.config, "--write")
    project.engine(RuleEngine(lambda _: AssertionError("asked"), name="fake"))

    again = project.json("runs", "resume", first["run"])

    assert again["variables"] == [{"name": "prompt", "start": START, "found": BETTER, "end": BETTER}]
    assert again["calls"] == first["calls"]


def test_a_byte_order_mark_is_no_part_of_a_prompt(project: Project) -> None:
    """A prompt that a Windows program saved is sent without it."""
    project.prompt.write_text(f"\ufeff{START}\n", encoding="utf-8")

    assert project.json("optimize", project.config)["variables"][0]["start"] == START


def test_a_file_that_was_edited_meanwhile_is_not_overwritten(project: Project) -> None:
    """A resumed run ends later than it began: the edit stays, and where the new text is to be had is said."""
    project.run("optimize", project.config, "--write", "--budget-calls", "8")
    (run,) = (each["run"] for each in project.json("runs", "list"))
    project.prompt.write_text("Edited meanwhile.\n", encoding="utf-8")

    code, _, err = project.run("runs", "resume", run, "--budget-calls", "500")

    assert code == 2
    assert "prompt.txt holds neither the start's text nor the new one" in err.replace("\n", " ")
    assert f"wordgrad runs export {run}" in err
    assert project.prompt.read_text(encoding="utf-8") == "Edited meanwhile.\n"
    assert project.json("runs", "list")[0]["report"]["accepted"] is True
