"""`wordgrad models`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from wordgrad.cli import app as commands
from wordgrad.cli.models import app, ensure
from wordgrad.engines import weights
from wordgrad.errors import UsageError

FILE = weights.find(weights.DEFAULT).file


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights lie in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "wordgrad" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pulled(cache: Path) -> Path:
    """A file of the right size; a sparse one, since the commands only look at its size."""
    path = cache / FILE
    with path.open("wb") as file:
        file.truncate(weights.find(weights.DEFAULT).size)
    return path


def test_list_says_what_is_here(pulled: Path) -> None:
    """Name, size, licence and presence of each model are shown."""
    shown = CliRunner().invoke(app, ["list"]).output

    assert all(word in shown for word in (weights.DEFAULT, "1.1 GB", "Apache-2.0", "yes"))


def test_path_is_printed_alone(pulled: Path) -> None:
    """The output of `path` is the path, for use in scripts."""
    assert CliRunner().invoke(app, ["path"]).stdout == f"{pulled}\n"


def test_path_of_what_is_missing_names_the_command() -> None:
    """A model that is not there is an error with the command that gets it."""
    error = CliRunner().invoke(app, ["path"]).exception

    assert isinstance(error, UsageError)
    assert f"run `wordgrad models pull {weights.DEFAULT}`" in str(error)


def test_pull_of_what_is_there_prints_its_path(pulled: Path) -> None:
    """Nothing is asked and nothing downloaded."""
    assert CliRunner().invoke(app, ["pull"]).stdout == f"{pulled}\n"


def test_pull_without_a_terminal_needs_yes() -> None:
    """Nobody downloads a gigabyte by surprise: size, licence and sources are shown, and nothing is fetched."""
    result = CliRunner().invoke(app, ["pull"])

    assert isinstance(result.exception, UsageError)
    assert "--yes" in str(result.exception)
    assert all(word in result.stderr for word in ("1.1 GB", "Apache-2.0", "Hugging Face hub"))


def test_pull_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """A "no" downloads nothing."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)

    with pytest.raises(UsageError, match="was not downloaded"):
        ensure(Console(stderr=True), yes=False)

    assert list(cache.iterdir()) == []


def test_yes_pulls(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """With --yes the model is pulled, with a progress bar on stderr and the path alone on stdout."""
    monkeypatch.setattr(weights, "pull", lambda wanted, *, progress: (progress("x", 1, 2), cache / wanted.file)[1])

    result = CliRunner().invoke(app, ["pull", "--yes"])

    assert result.stdout == f"{cache / FILE}\n"


def test_no_weights_are_fetched_for_an_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on "local" is told first what it lacks, not after a gigabyte."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(weights, "pull", lambda *_, **__: pytest.fail("it was fetched"))
    demo = Path(__file__).parents[1] / "examples" / "ticket_triage" / "wordgrad.toml"

    error = CliRunner().invoke(commands, ["optimize", str(demo), "--yes", "--store", os.devnull]).exception

    assert isinstance(error, UsageError)
    assert 'run `pip install "wordgrad[local]"`' in str(error)


def test_remove_says_what_it_did(pulled: Path) -> None:
    """The file goes, and a second removal says that there was none."""
    outputs = [CliRunner().invoke(app, ["remove", weights.DEFAULT]).output for _ in range(2)]

    assert outputs == [f"{weights.DEFAULT} was removed\n", f"{weights.DEFAULT} was not on this machine\n"]
    assert not pulled.exists()
