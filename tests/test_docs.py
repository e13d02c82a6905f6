"""The documentation's examples run, and its reference is that of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from project import BETTER, Pupil
from wordgrad import errors

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/wordgrad").rglob("*.py"))
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/testing.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)
SOURCE = "\n".join(EXAMPLES)
NAMESPACE: dict[str, object] = {"__name__": "docs_testing"}
exec(compile(SOURCE, "docs/testing.md", "exec"), NAMESPACE)


@pytest.mark.parametrize("name", sorted(name for name in NAMESPACE if name.startswith("test_")))
def test_examples_of_the_testing_page(name: str) -> None:
    """Each example test on the page passes."""
    example = NAMESPACE[name]

    assert callable(example)
    example()


class TestMyEngine(NAMESPACE["TestMyEngine"]):  # type: ignore[misc]
    """The page's engine keeps the contract."""


def test_the_training_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's code, in order, trains its prompt and writes its report."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/training.md").read_text("utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE))
    splits = {
        name: [{"word": f"{name}{number}", "shout": f"{name}{number}".upper()} for number in range(count)]
        for name, count in (("train", 8), ("validation", 12), ("test", 5))
    }
    namespace: dict[str, Any] = {"engine": Pupil(), **splits}
    exec(compile(code, "docs/training.md", "exec"), namespace)

    assert namespace["prompt"].value == BETTER
    assert {each.name for each in (tmp_path / "report").iterdir()} == {
        *("report.md", "report.html", "score.svg", "lengths.svg", "spending.svg")
    }
    assert namespace["found"].verdict.startswith("nothing to gain")
    assert list(namespace["guarded"].task.guardrails) == ["short", "no questions"]


def test_the_reference_is_up_to_date() -> None:
    """The reference pages are what `make docs` writes: each public name, with its signature and docstring."""
    script = runpy.run_path(str(ROOT / "scripts/reference.py"))
    stale = [
        file
        for file, module in script["PAGES"].items()
        if (ROOT / "docs" / file).read_text("utf-8") != script["page"](module)
    ]

    assert stale == [], "run `make docs`"


def test_every_error_has_an_entry() -> None:
    """The page of errors has one section for each kind, in the order of the tree."""
    kinds = [
        name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, errors.WordgradError)
    ]
    page = (ROOT / "docs/errors.md").read_text("utf-8")

    assert ["WordgradError", *re.findall(r"^## `(\w+)`$", page, re.MULTILINE)] == kinds
    assert [each for each in re.findall(r"^- \*(.+?)\*:", page, re.MULTILINE) if not raised(each)] == []


def raised(words: str) -> bool:
    """Whether some message in the source has these words; "…" stands for what differs."""
    source = " ".join(re.sub(r'"\s*\n\s*f?"', "", file.read_text("utf-8")) for file in SOURCES)
    return all(part in source for part in re.split(r"\s?…\s?", words))
