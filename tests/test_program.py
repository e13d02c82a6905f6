"""Programs and metrics of the user's own, through the command line."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, START, Project, Pupil, own_modules, project, shouted, shouting
from wordgrad.testing import RuleEngine
from wordgrad.types import Request

__all__ = ["own_modules", "project"]

SHOUT = """\
import wordgrad as wg

engine = None


def shout(variables, row):
    return wg.llm_call(variables["prompt"], row["word"], engine=engine)


class Shouter(wg.Module):
    def __init__(self):
        self.prompt = wg.Variable("Say it.", "system prompt", requires_grad=True)

    def forward(self, row):
        return wg.llm_call(self.prompt, row["word"], engine=engine)


class Needy(Shouter):
    def __init__(self, engine):
        super().__init__()


made = Shouter()
number = 7


def text(variables, row):
    return row["word"]


def reads(variables, row):
    return wg.Variable(shout(variables, row).value, "copy", requires_grad=True)


def crashes(variables, row):
    return row["nothing"]


def one(row):
    return row
"""
FORWARD = '[engines.forward]\nengine = "fake"\nmax_tokens = 20\n\n'
VARIABLE = '[variables.prompt]\nrole = "system prompt"\nfile = "prompt.txt"\n'


@pytest.fixture
def own(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A job whose program is the user's; its module lies beside the configuration."""
    (project.folder / "own_shout.py").write_text(SHOUT, encoding="utf-8")
    project.change(FORWARD, "")
    engine = Pupil()
    project.engine(engine)
    monkeypatch.syspath_prepend(str(project.folder))
    import own_shout  # type: ignore[import-not-found]

    own_shout.engine = engine
    return project


def program(project: Project, name: str, *, variables: bool) -> None:
    """Let the configuration name this program."""
    source = project.config.read_text(encoding="utf-8")
    if not variables:
        source = source.replace(VARIABLE, "")
    project.config.write_text(f'program = "own_shout:{name}"\n{source}', encoding="utf-8")


def scored(report: Mapping[str, Any]) -> tuple[int, float | None, float | None]:
    """How many test rows there are, and both texts' scores on them."""
    return tuple(report["test"][name] for name in ("n", "start", "end"))  # type: ignore[return-value]


@pytest.mark.parametrize(("name", "variables"), [("shout", True), ("Shouter", False), ("made", False)])
def test_a_program_is_a_function_a_module_or_its_class(own: Project, name: str, variables: bool) -> None:
    """A function gets the configured variables and the row, a Module the row; both learn as the built-in program."""
    program(own, name, variables=variables)

    found = own.json("optimize", own.config)

    assert found["variables"] == [{"name": "prompt", "start": START, "found": BETTER, "end": BETTER}]
    assert scored(found) == (5, 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "variables", "words"),
    [
        ("shout", False, "wordgrad.toml:1: program: 'own_shout:shout' is a function of (variables, row): name its"),
        ("made", True, "wordgrad.toml:1: program: 'own_shout:made' is a Module and brings its own variables"),
        ("Needy", False, "wordgrad.toml:1: program: 'own_shout:Needy' cannot be made: "),
        ("number", True, "wordgrad.toml:1: program: 'own_shout:number' is a int: name a Module, or a function"),
        ("one", True, "wordgrad.toml:1: program: 'own_shout:one' is a function: name a Module, or a function"),
        ("nothing", True, "wordgrad.toml:1: program: 'own_shout:nothing' cannot be loaded: AttributeError"),
        ("", True, "wordgrad.toml:1: program: 'own_shout:': write \"module:attribute\""),
        ("text", True, "the program text returned a str: return the Variable that the last call gave"),
    ],
)
def test_what_is_no_program_is_told(own: Project, name: str, variables: bool, words: str) -> None:
    """The message names file, line and key, and what to write."""
    program(own, name, variables=variables)

    code, _, err = own.run("optimize", own.config)

    assert (code, words in err) == (2, True), err


def test_a_module_that_cannot_be_imported_is_told(project: Project) -> None:
    """Whatever a user's module raises is in the message."""
    (project.folder / "own_broken.py").write_text("def f(:\n", encoding="utf-8")
    project.change(FORWARD, "")
    project.config.write_text('program = "own_broken:f"\n' + project.config.read_text(encoding="utf-8"))

    code, _, err = project.run("optimize", project.config)

    assert code == 2
    assert "program: 'own_broken:f' cannot be loaded: SyntaxError: " in err
    assert "(own_broken.py, line 1)" in err


@pytest.mark.parametrize("place", ["beside", "working"])
def test_modules_are_found_beside_the_configuration_and_in_the_working_folder(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """What a script in either folder could import, a configuration can name; what it imports itself too."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    folder = project.folder if place == "beside" else elsewhere
    monkeypatch.chdir(elsewhere)
    (folder / "own_metric.py").write_text("from own_rule import right\n", encoding="utf-8")
    (folder / "own_rule.py").write_text("def right(output, target):\n    return output == target\n", encoding="utf-8")
    metric(project, 'kind = "function"\nfunction = "own_metric:right"')

    assert project.json("eval", project.config)["score"] == 0.0


def test_the_folder_of_the_configuration_goes_first(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of the same name in the working folder does not take its place."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    (project.folder / "own_first.py").write_text("def score(output, target):\n    return 0.25\n", encoding="utf-8")
    (elsewhere / "own_first.py").write_text("def score(output, target):\n    return 0.75\n", encoding="utf-8")
    metric(project, 'kind = "function"\nfunction = "own_first:score"')

    assert project.json("eval", project.config)["score"] == 0.25


@pytest.mark.parametrize("waits", [False, True])
def test_a_crash_on_one_row_names_it_and_stops_the_others(caplog: pytest.LogCaptureFixture, waits: bool) -> None:
    """An error of a plain or an async function; nothing is said of the calls of other rows."""
    engine = Pupil()

    def program(variables: Mapping[str, wg.Variable], row: Mapping[str, Any]) -> wg.Variable:
        if row["word"] == "held7":
            raise ValueError("an odd row")
        return wg.llm_call(variables["prompt"], row["word"], engine=engine)

    async def waiting(variables: Mapping[str, wg.Variable], row: Mapping[str, Any]) -> wg.Variable:
        return program(variables, row)

    rows = shouted("held", 12)
    _, training = shouting(waiting if waits else program, engine)

    with pytest.raises(wg.NodeError, match=r"^the program failed on example 8: ValueError: an odd row$") as caught:
        training.fit(shouted("train", 4), rows)
    gc.collect()

    assert isinstance(caught.value.__cause__, ValueError)
    assert caplog.text == ""


def test_a_crash_of_the_program_names_its_line_and_how_to_go_on(own: Project) -> None:
    """An exception that a user's own code raised is one message: what, in which file, line and function."""
    program(own, "crashes", variables=True)

    code, out, err = own.run("optimize", own.config)
    line = SHOUT.splitlines().index('    return row["nothing"]') + 1

    assert code == 1
    assert (
        f"error: the program failed on test.jsonl:1: KeyError: 'nothing' (in {own.folder}/own_shout.py:{line}, crashes)"
        in err
    )
    assert "Go on with: wordgrad runs resume " in out


def test_an_outage_inside_the_program_is_an_outage(own: Project) -> None:
    """Where the program reads a value of a call that failed, the exit code is that of the service, not of a crash."""
    program(own, "reads", variables=True)
    import own_shout

    def down(request: Request) -> str | Exception:
        return "ready" if request.purpose == "preflight" else wg.EngineError("no such key", retryable=False, status=401)

    own_shout.engine = RuleEngine(down, name="fake")
    code, out, err = own.run("optimize", own.config)

    assert (code, "error: no such key" in err) == (4, True)
    assert "Go on with: wordgrad runs resume " in out


def test_the_estimate_of_a_program_says_what_it_does_not_know(own: Project) -> None:
    """Calls are counted once a row, and neither tokens nor money of the answers are made up."""
    program(own, "shout", variables=True)
    price = "\nprice = {input_usd = 1.0, output_usd = 2.0}"
    for table in ("backward", "optimizer"):
        own.change(f"[engines.{table}]", f"[engines.{table}]{price}")

    found = own.json("estimate", own.config)
    _, out, _ = own.run("estimate", own.config)

    assert (found["answers"]["tokens"], found["answers"]["usd"], found["all"]["usd"]) == (0, None, None)
    assert found["critics"]["usd"] > 0
    assert found["limit"].startswith("answers count one call a row")
    assert found["limit"] in out


# ---- metrics


def metric(project: Project, lines: str) -> None:
    """Let the configuration have this metric."""
    source = project.config.read_text(encoding="utf-8")
    project.config.write_text(source.replace("[search]", f"[metric]\n{lines}\n\n[search]"), encoding="utf-8")


def own_metric(project: Project, body: str, *, more: str = "") -> None:
    """A metric function with this body."""
    (project.folder / "own_score.py").write_text(f"def score(output, target):\n    {body}\n", encoding="utf-8")
    metric(project, f'kind = "function"\nfunction = "own_score:score"\n{more}')


def test_a_function_scores(project: Project) -> None:
    """A number from 0 to 1 is the score, and a row below what passes gives feedback in its own words."""
    own_metric(project, 'return (1.0, "") if output.isupper() else (0.4, "Shout!")')
    engine = Pupil()
    project.engine(engine)

    found = project.json("optimize", project.config)
    asked = [each.prompt for each in engine.history if each.request.purpose == "backward"]

    assert scored(found) == (5, 0.4, 1.0)
    assert len(asked) == 4
    assert all("Shout!" in each for each in asked)


def test_what_passes_needs_no_feedback(project: Project) -> None:
    """With passing = 0.4 a row of 0.4 is good enough: no critic is asked, and the start is kept."""
    own_metric(project, "return 1.0 if output.isupper() else 0.4", more="passing = 0.4")
    engine = Pupil()
    project.engine(engine)

    found = project.json("optimize", project.config)

    assert (scored(found), found["accepted"]) == ((5, 0.4, 0.4), False)
    assert {each.request.purpose for each in engine.history} == {"preflight", "forward"}


def test_a_row_that_could_not_be_judged_is_no_zero(project: Project) -> None:
    """None is left out of the mean."""
    own_metric(project, 'return (None, "?") if output == "test0" else (0.5, "")')

    assert project.json("eval", project.config) == {
        "n": 5, "score": 0.5, "passed": 0, "unjudged": 1, "calls": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("score = 'exact'", "'exact' is no metric"),
        ("def score(output): return 1.0", "cannot be called with (output, target): too many positional arguments"),
        ("def score(output, target, language): return 1.0", "missing a required argument: 'language'"),
    ],
)
def test_what_is_no_metric_is_found_before_anything_is_asked(project: Project, body: str, words: str) -> None:
    """A metric that could not be called is a mistake in the file, and costs no call."""
    engine = Pupil()
    project.engine(engine)
    (project.folder / "own_score.py").write_text(body + "\n", encoding="utf-8")
    metric(project, 'kind = "function"\nfunction = "own_score:score"')

    code, _, err = project.run("optimize", project.config)

    assert (code, engine.history) == (2, ())
    assert "wordgrad.toml:26: metric.function: " in err
    assert words in err


def test_a_metric_that_judges_nothing_has_no_score(project: Project) -> None:
    """There is no mean of nothing, and nothing is better than it."""
    own_metric(project, 'return (None, "?")')

    code, out, _ = project.run("eval", project.config)

    assert (code, "- on 5 test rows (5 could not be judged), 0 passed" in out) == (0, True)


def test_nothing_is_better_where_nothing_can_be_compared(project: Project) -> None:
    """A metric that judges no validation row leaves the start in place, and its score unknown."""
    own_metric(project, 'return (0.0, "Shout!") if output.startswith("train") else (None, "?")')

    found = project.json("optimize", project.config)

    assert (found["accepted"], scored(found)) == (False, (5, None, None))


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("return 3.0", 2, "score ('judgement by score' of example 'test.jsonl:1') failed: UsageError: a score of 3.0"),
        ('return "good"', 2, "the metric 'score' returned 'good': return a number, a bool, a Score"),
        ("return output / 0", 1, "own_score.py:2, score)"),
    ],
)
def test_what_is_no_score_is_told(project: Project, body: str, code: int, words: str) -> None:
    """A score outside the bounds, none at all, and a crash each name the metric."""
    own_metric(project, body)

    found, _, err = project.run("eval", project.config)

    assert (found, words in err) == (code, True), err


def test_a_rubric_is_judged_by_the_backward_engine(project: Project) -> None:
    """The judge's scores are the rows' scores, and its critique is what a critic sees."""
    project.engine(Judge())
    metric(project, 'kind = "rubric"\nrubric = "Is it shouted?"\npassing = 0.9')

    found = project.json("optimize", project.config)
    said = project.json("estimate", project.config)

    assert (scored(found), found["accepted"]) == ((5, 0.2, 0.95), True)
    assert "judgements" in said
    assert said["all"]["calls"]["least"] <= found["calls"] <= said["all"]["calls"]["most"]
    assert found["tokens"]["input"] + found["tokens"]["output"] <= said["all"]["tokens"]


def test_a_judge_may_be_another_engine_than_the_critic(project: Project) -> None:
    """A guardrail's judge of its own is asked once before the start, and is counted with its own limit."""
    pupil, judge = Judge(), Judge(name="second")
    project.engine(lambda spec: judge if spec == "second" else pupil)
    project.change(
        "[search]",
        '[guardrails.loud]\nkind = "rubric"\nrubric = "Shouted: 1."\nmargin = 0.9\n\n'
        '[guardrails.loud.judge]\nengine = "second"\nmax_tokens = 7\n\n[search]',
    )
    found = project.json("optimize", project.config)
    few = project.json("estimate", project.config)["judgements"]["tokens"]
    project.change("max_tokens = 7", "max_tokens = 107")
    many = project.json("estimate", project.config)["judgements"]

    asked = [(each.request.purpose, each.request.sampling.max_tokens) for each in judge.history]
    assert found["accepted"]
    assert asked == [("preflight", 64), *[("judge", 7)] * (5 + 2 * 6)]
    assert not [each for each in pupil.history if each.request.purpose == "judge"]
    # The reply that could not be read is sent again, so its limit counts in what is read too.
    assert many["tokens"] - few == 2 * 100 * many["calls"]["most"]


def test_a_judge_that_is_none_is_named(project: Project) -> None:
    """With the line that it stands on."""

    def engine(spec: str) -> Pupil:
        if spec == "nobody":
            raise wg.UsageError("no such engine")
        return Pupil()

    project.engine(engine)
    project.change(
        "[search]", '[guardrails.a]\nkind = "rubric"\nrubric = "?"\nmargin = 0\njudge.engine = "nobody"\n\n[search]'
    )
    code, _, err = project.run("optimize", project.config)

    assert code == 2
    assert "guardrails.a.judge.engine: no such engine" in err


class Judge(Pupil):
    """A pupil that also judges."""

    def said(self, request: Request) -> object:  # type: ignore[override]
        if request.purpose != "judge":
            return super().said(request)
        # What was wanted is shown to the judge too.
        shouted = len(re.findall(r"TEST|HELD|TRAIN", request.messages[-1].text)) > 1
        return {"critique": "Well." if shouted else "Shout it.", "score": 0.95 if shouted else 0.2}


def test_rows_may_have_other_columns_and_types(own: Project) -> None:
    """A program of one's own gets every column, as JSON has it."""
    (own.folder / "own_wide.py").write_text(
        "import wordgrad as wg\nimport own_shout\n\n\n"
        "def wide(variables, row):\n"
        '    return wg.llm_call(variables["prompt"], row["parts"]["first"], engine=own_shout.engine)\n',
        encoding="utf-8",
    )
    for split in ("train", "validation", "test"):
        lines = [
            json.dumps({"word": f"{split}{n}", "shout": f"{split}{n}".upper(), "parts": {"first": f"{split}{n}"}})
            for n in range(12)
        ]
        (own.folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    own.config.write_text('program = "own_wide:wide"\n' + own.config.read_text(encoding="utf-8"), encoding="utf-8")

    assert own.json("optimize", own.config)["test"]["end"] == 1.0


def test_the_working_folder_may_be_anywhere(own: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program beside the configuration is found from another folder, also when its run is resumed."""
    program(own, "shout", variables=True)
    run = str(own.json("optimize", own.config)["run"])
    monkeypatch.chdir(tmp_path)

    assert own.json("runs", "resume", run)["run"] == run


def test_a_module_is_scored_with_the_texts_of_each_candidate(own: Project) -> None:
    """Also where a function's body reads the Module's own variable late, after its inputs have come."""
    (own.folder / "own_late.py").write_text(
        "import own_shout\nimport wordgrad as wg\n\n\n"
        "class Late(wg.Module):\n"
        "    def __init__(self):\n"
        "        self.prompt = wg.Variable('Say it.', 'system prompt', requires_grad=True)\n\n"
        "    def forward(self, row):\n"
        "        said = wg.llm_call(self.prompt, row['word'], engine=own_shout.engine)\n\n"
        "        @wg.function(pure=True)\n"
        "        def checked(text):\n"
        "            return text if 'CAPITALS' in self.prompt.value else text.lower()\n\n"
        "        return checked(said)\n",
        encoding="utf-8",
    )
    program(own, "shout", variables=False)
    own.change("own_shout:shout", "own_late:Late")
    found = own.json("optimize", own.config)

    assert (found["accepted"], scored(found)) == (True, (5, 0.0, 1.0))


def test_a_rubric_without_a_target_column_compares_in_pairs(project: Project) -> None:
    """No label is needed, and none is read."""

    class Blind(Pupil):
        """Judges by what is shouted."""

        def said(self, request: Request) -> object:  # type: ignore[override]
            if request.purpose != "judge":
                return super().said(request)
            text = request.messages[-1].text
            if "The second answer" not in text:
                return {"critique": "Shout it.", "score": 0.5}
            first, second = ("HELD" in each or "TEST" in each for each in text.split("The second answer"))
            return {"reason": "Loud.", "better": "neither" if first == second else "first" if first else "second"}

    for split, count in (("train", 8), ("validation", 12), ("test", 5)):
        name = {"validation": "held"}.get(split, split)
        rows = [json.dumps({"word": f"{name}{n}"}) for n in range(count)]
        (project.folder / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    project.change('target = "shout"\n', "")
    metric(project, 'kind = "rubric"\nrubric = "Is it shouted?"')
    project.engine(Blind())
    found = project.json("optimize", project.config)

    assert (found["accepted"], found["decision"]["by_judge"], found["decision"]["better"]) == (True, True, 6)
