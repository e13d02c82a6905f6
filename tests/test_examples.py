"""The examples run, and their data are what their pages say."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from engines import Model
from wordgrad import engines
from wordgrad.engines import defaults
from wordgrad.train import config as configs
from wordgrad.train.build import read_splits

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
TICKETS = ["ticket_triage", "ticket_routing"]


def embedded(model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model without weights, under the name of the embedded one."""
    monkeypatch.setattr(engines, "_made", lambda spec: {"local": model}[spec])
    monkeypatch.setattr(defaults, "_process", [])
    return model


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model that writes one prompt for ever."""
    text = "You summarise articles in one sentence, in their language."
    return embedded(Model(rewrite={"value": text}), monkeypatch)


def test_the_quickstart_goes_from_variable_to_step(
    local: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of three articles is answered, judged, criticised and learned from; each step says what it did."""
    runpy.run_path(str(EXAMPLES / "quickstart.py"), run_name="__main__")

    # The model writes one text for ever: after the first step its rewrites change nothing, and say so once repaired.
    assert [local.count(purpose) for purpose in ("forward", "judge", "backward", "optimize")] == [3, 3, 3, 5]
    assert re.findall(r"applied=(\w+)", capsys.readouterr().out) == ["True", "False", "False"]


def test_a_solution_is_optimised(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer becomes a parameter: the check's words are its gradient, without a critic, until it finds nothing."""
    # The second of six candidates is right, the others are far off: what is chosen is the check's choice.
    texts = iter(["bees", "bees, maps, cooking"])
    local = embedded(Model("graphs, maps, cooking", rewrite=lambda _: {"value": next(texts, "bees")}), monkeypatch)
    runpy.run_path(str(EXAMPLES / "solution.py"), run_name="__main__")

    said = capsys.readouterr().out
    assert [local.count(purpose) for purpose in ("forward", "judge", "backward", "optimize")] == [1, 0, 0, 6]
    assert all("5 minutes too long" in each for each in local.asked("optimize"))
    assert said.rstrip().endswith("= 90 minutes, exactly.")


def test_the_readme_s_code_runs(local: Model) -> None:
    """What the README shows first works as it stands."""
    code = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)[0]

    exec(compile(code, "README.md", "exec"), {})

    assert local.count("optimize") >= 1


@pytest.mark.parametrize("example", TICKETS)
def test_the_tickets_are_enough_and_apart(example: str) -> None:
    """Enough rows in each split, no ticket twice, and every answer in each split."""
    config = configs.load(EXAMPLES / example / "wordgrad.toml")
    splits = read_splits(config)
    rows = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    tickets = Counter(row[config.data.input] for split in rows.values() for row in split)
    answers = {name: {row[str(config.data.target)] for row in split} for name, split in rows.items()}

    assert all(len(rows[name]) >= least for name, least in (("train", 40), ("validation", 60), ("test", 100)))
    assert max(tickets.values()) == 1
    assert answers["train"] == answers["validation"] == answers["test"]


def test_the_demo_can_be_replayed(tmp_path: Path) -> None:
    """The recorded run's screen is there within seconds, without weights, and ends with its scores."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/replay_demo.py")],
        env={"HOME": str(tmp_path), "PATH": "", "COLUMNS": "120", "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"start .*%.*\n.*end .*%", done.stdout)


@pytest.mark.local_model
@pytest.mark.timeout(600)
def test_a_prompt_is_optimised_on_the_embedded_model(tmp_path: Path) -> None:
    """The demo's job on a few of its rows: calls are made, a report comes, and the result is no worse where it counts."""
    for name in ("prompt.txt", "wordgrad.toml", "data"):
        source = EXAMPLES / "ticket_triage" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for split, rows in (("train", 6), ("validation", 12), ("test", 6)):
        file = tmp_path / "data" / f"{split}.jsonl"
        file.write_text("\n".join(file.read_text("utf-8").splitlines()[:rows]) + "\n", encoding="utf-8")
    settings = tmp_path / "wordgrad.toml"
    small = re.sub(r"(?m)^(batch|candidates) = \d+$", r"\1 = 4", settings.read_text("utf-8"))
    settings.write_text(small, encoding="utf-8")

    done = subprocess.run(
        [Path(sys.executable).with_name("wordgrad"), "optimize", settings, "--json", "--store", tmp_path / "runs.db"],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report: Mapping[str, object] = json.loads(done.stdout)
    decision: Mapping[str, float] = report["decision"]  # type: ignore[assignment]
    assert (report["status"], report["steps"]) == ("done", 1)
    assert decision is None or not decision["accepted"] or decision["candidate"] > decision["start"]
