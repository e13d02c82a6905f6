"""The map in docs/architecture.md is of the code as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from wordgrad.train.config import parse

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SOURCE = ROOT / "src" / "wordgrad"


def entry(folder: str) -> str:
    """What the map says of a folder of the package, over all its lines."""
    found = re.search(rf"^  {folder}/ .*\n(?: {{6,}}.*\n)*", PAGE, re.MULTILINE)
    assert found is not None, f"{folder}/ is not in the map"
    return found[0]


@pytest.mark.parametrize("folder", sorted(each.parent.name for each in SOURCE.glob("*/__init__.py")))
def test_the_map_names_every_module(folder: str) -> None:
    """Each file of each folder stands in the folder's entry."""
    said = set(re.findall(r"\w+", entry(folder)))
    modules = {each.stem for each in (SOURCE / folder).glob("*.py")} - {"__init__"}

    assert sorted(modules - said) == []


def test_the_map_names_every_file_beside_the_folders() -> None:
    """What lies directly in the package is in the map."""
    files = sorted(each.name for each in SOURCE.glob("*.py"))

    assert [each for each in files if f"  {each}" not in PAGE] == []


def test_the_layers_are_those_that_are_checked() -> None:
    """The table and import-linter's contract have the same rows, in the same order."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    checked = [set(re.findall(r"\w+", row)) for row in contracts[0]["layers"]]
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    said = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    last = said.pop()

    assert [*said, {"types"}, {"errors"}] == checked
    assert last == {"types", "errors"}


def test_the_readmes_configuration_is_one() -> None:
    """The TOML of the README can be read as it stands."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```toml\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)

    assert list(parse(source, Path("wordgrad.toml")).variables) == ["prompt"]
