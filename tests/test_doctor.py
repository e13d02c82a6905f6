"""`wordgrad doctor`: whether a run is worth its money, before it is spent."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from project import Project, Pupil, Silent, Two, own_modules, project
from wordgrad.statistics.betting import mean_interval
from wordgrad.testing import Reply, RuleEngine
from wordgrad.types import Request

__all__ = ["own_modules", "project"]


def answering(project: Project, *looks: str) -> None:
    """Answer each look at the selection rows, a sign a row: "+" right, "-" wrong, "?" with a question mark.

    Training rows are answered right.
    """
    asked: Counter[str] = Counter()
    rows = project.divided().selection

    def rule(request: Request) -> str:
        if request.purpose == "preflight":
            return "ready"
        word = request.messages[-1].text
        if word not in rows:
            return word.upper()
        sign = looks[asked[word]][rows.index(word)]
        asked[word] += 1
        return {"+": word.upper(), "-": word, "?": "?"}[sign]

    project.engine(RuleEngine(rule, name="fake"))


def test_a_start_that_can_learn(project: Project) -> None:
    """Each selection row is asked twice, and a step is rehearsed: there is something to learn, and rows to show it."""
    project.rows("validation", [f"held{number}" for number in range(120)])
    found = project.json("doctor", project.config)

    assert found["run"]["calls"]["least"] == 14  # the engine, the test rows, and both batches
    # The engine, sixty rows twice; a batch of four, their critics, two rewrites, which are one, on these four rows.
    assert found["calls"] == 1 + 2 * 60 + 4 + 4 + 2 + 4
    assert (found["rows"], found["score"], found["low"], found["failing"], found["unsteady"]) == (60, 0.0, 0.0, 60, 0)
    assert (found["sealed"], found["worthwhile"], found["known"]) == (60, True, 0)
    assert (
        found["verdict"] == "60 of 60 rows fail both times: there is something to learn, and 60 sealed rows prove a "
        "gain from 11 points on"
    )
    assert (found["worse"], found["unjudged"]) == (0.0, 0)


def test_few_rows_prove_a_large_gain(project: Project) -> None:
    """Where all rows fail, five are enough: none can get worse."""
    project.rows("validation", [f"held{number}" for number in range(10)])
    found = project.json("doctor", project.config)

    assert (found["sealed"], found["worthwhile"]) == (5, True)


def test_the_sealed_rows_stay_so(project: Project) -> None:
    """No look is at a row that will confirm what a run with the same seed finds, nor at a test row."""
    engine = Pupil()
    project.engine(engine)
    project.json("doctor", project.config, "--seed", "7")

    asked = {each.prompt for each in engine.history if each.request.purpose == "forward"}
    assert {each for each in asked if not each.startswith("train")} == set(project.divided(seed=7).selection)


def test_a_score_that_changes_and_passes_is_no_failure(project: Project) -> None:
    """Where every row passes both times there is nothing to gain, however the scores differ."""
    (project.folder / "own_near.py").write_text(
        "import itertools\n\nturn = itertools.cycle([0.8, 0.9, 1.0])\n\n\ndef near(output, target):\n"
        "    return next(turn)\n"
    )
    lines = '[metric]\nkind = "function"\nfunction = "own_near:near"\npassing = 0.7\n\n[search]'
    project.change("[search]", lines)
    project.rows("validation", [f"held{number}" for number in range(14)])  # 7 to look at: no multiple of the cycle
    found = project.json("doctor", project.config)

    assert (found["failing"], found["flipped"], found["unsteady"] > 0) == (0, 0, True)
    assert found["verdict"].startswith("nothing to gain")


def test_rows_that_cannot_be_judged_are_counted(project: Project) -> None:
    """They are in no score, and the page says how many they are."""
    (project.folder / "own_odd.py").write_text(
        "import wordgrad as wg\n\n\ndef odd(output, target):\n    return wg.Score(None if output == '?' else 1.0)\n"
    )
    answering(project, "+++???", "+++???")
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_odd:odd"\n\n[search]')
    _, out, _ = project.run("doctor", project.config)

    assert "100.0% on 3 validation rows (3 could not be judged); between" in " ".join(out.split())


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        (("++++++", "++++++"), "nothing to gain: every validation row passes"),
        (("+++---", "---+++"), "what fails is noise: every row that failed once passed the other time"),
        (("++++--", "++++--"), "2 of 6 rows fail both times: there is something to learn, but 6 sealed rows prove"),
    ],
)
def test_a_start_that_is_not_worth_a_run(project: Project, looks: tuple[str, str], words: str) -> None:
    """No failing row, noise alone, or too few sealed rows: each is said, with what to do."""
    answering(project, *looks)
    code, out, _ = project.run("doctor", project.config)

    assert code == 0
    assert words in out


def test_small_steps_of_a_graded_metric_can_be_proved(project: Project) -> None:
    """What proves them is how many rows get better, not how many points: all can, also those that pass."""
    (project.folder / "own_grade.py").write_text(
        "def grade(output, target):\n    return 0.9 if output.isupper() else 0.5 if target[-1] in '02468' else 0.8\n"
    )
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_grade:grade"\npassing = 0.7\n\n[search]')
    project.rows("validation", [f"held{number}" for number in range(40)])
    found = project.json("doctor", project.config)
    _, out, _ = project.run("doctor", project.config)
    decision = project.json("optimize", project.config)["decision"]

    assert (found["graded"], found["below"], found["failing"] < found["rows"]) == (True, 20, True)
    assert (found["worthwhile"], decision["accepted"], decision["difference"] < 0.3) == (True, True, True)
    assert "20 sealed rows prove a text that is better on 45% of rows and worse on 5%" in found["verdict"]
    assert "20 sealed rows prove a text that is better on 45% of rows and worse on 5%" in " ".join(out.split())


def test_the_page_says_it_in_words(project: Project) -> None:
    """Engines, metric, start, headroom, noise, rehearsal, proof and price, a line each."""
    answering(project, "+++---", "++----")
    _, out, _ = project.run("doctor", project.config)

    lines = out.splitlines()[-9:]
    assert [each.split("  ")[0].strip() for each in lines[:-1]] == [
        "engines", "metric", "start", "headroom", "noise", "rehearsal", "proof", "a run",
    ]  # fmt: skip
    assert "50.0% on 6 validation rows; between" in lines[2]
    assert "3 of 6 rows fail both times" in lines[3]
    assert "1 of 6 rows were scored differently the second time" in lines[4]


@pytest.mark.parametrize(
    ("rewrite", "line"),
    [
        (
            None,
            "4 of 4 training rows fail; 1 of 2 rewrites can be used; it mends 4 of 4 rows that fail, and breaks 0 of 0",
        ),
        ({"value": "Say it slowly."}, "1 of 2 rewrites can be used; it mends 0 of 4 rows that fail, and breaks 0 of 0"),
        ("no rewrite at all", "4 of 4 training rows fail; 0 of 2 rewrites can be used"),
    ],
    ids=["good", "bad", "none"],
)
def test_the_page_says_whether_a_rewrite_helps(project: Project, rewrite: Reply | None, line: str) -> None:
    """The first step is rehearsed, and its rewrites tried on the rows that they were written for."""
    project.engine(Pupil(rewrite))
    project.monkeypatch.setenv("COLUMNS", "300")
    _, out, _ = project.run("doctor", project.config)

    (said,) = [each for each in out.splitlines() if each.startswith("rehearsal")]
    assert line in said


def test_several_rewrites_are_tried(project: Project) -> None:
    """At most four of them, so that a rehearsal stays small; the page has the best."""
    project.change("candidates = 2", "candidates = 6")
    project.engine(Two())
    project.monkeypatch.setenv("COLUMNS", "300")
    found = project.json("doctor", project.config)["rehearsal"]
    _, out, _ = project.run("doctor", project.config)

    assert (found["rewrites"], len(found["candidates"])) == (6, 6)
    assert found["effects"] == [{"mended": 4, "failing": 4, "broken": 0, "passing": 0}] * 4
    assert "6 of 6 rewrites can be used; the best of 4 mends 4 of 4 rows that fail, and breaks 0 of 0" in out


@pytest.mark.parametrize("kind", ["all pass", "no change is asked for", "no rewrite"])
def test_a_first_step_that_would_learn_nothing_is_a_warning(project: Project, kind: str) -> None:
    """Selection rows fail, and no training row does; or critics have nothing to say; or no rewrite can be used."""
    said = {
        "all pass": "In a rehearsal of the first step, 8 of 8 training rows pass: nothing to learn from",
        "no change is asked for": "step, 8 of 8 training rows fail, and nothing asks for a change",
        "no rewrite": "step, no usable rewrite: prompt: ",
    }[kind]
    if kind == "all pass":
        project.rows("train", [f"TRAIN{number}" for number in range(8)])
    elif kind == "no change is asked for":
        project.engine(Silent())
    else:
        project.engine(Pupil("no rewrite at all"))
    project.rows("validation", [f"held{number}" for number in range(120)])
    found = project.json("doctor", project.config)

    assert said in found["verdict"]
    assert found["worthwhile"] is False


def test_training_rows_may_fail_where_the_others_pass(project: Project) -> None:
    """The verdict says so, since a run would learn from them."""
    project.rows("validation", [f"HELD{number}" for number in range(12)])
    found = project.json("doctor", project.config)

    assert found["verdict"] == (
        "nothing to gain: every validation row passes. Keep the text, or add harder rows: 4 of 4 training rows fail"
    )


def test_a_row_that_later_passes_ask_again_is_counted_once(project: Project) -> None:
    """Ten steps on eight rows ask about eight."""
    project.change("steps = 2", "steps = 10")
    project.rows("train", [f"TRAIN{number}" for number in range(8)])

    assert project.json("doctor", project.config)["rehearsal"]["rows"] == 8


def test_training_rows_that_cannot_be_judged_do_not_pass(project: Project) -> None:
    """The verdict counts them apart."""
    (project.folder / "own_held.py").write_text(
        "import wordgrad as wg\n\n\ndef held(output, target):\n"
        "    return wg.Score(None if 'TRAIN' in target else float(output == target))\n"
    )
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_held:held"\n\n[search]')
    found = project.json("doctor", project.config)

    assert "0 of 8 training rows pass, and 8 could not be judged: nothing to learn from" in found["verdict"]


def test_fewer_rows_may_be_looked_at(project: Project) -> None:
    """`--rows` asks about as many, chosen by the seed."""
    assert project.json("doctor", project.config, "--rows", "2")["rows"] == 2


KNOWN = '\n[[metric.known]]\noutput = "{output}"\ntarget = "YES"\npasses = {passes}\n'


def test_a_metric_is_held_against_known_outputs(project: Project) -> None:
    """A metric that judges them as the configuration does is right; one that does not is an error with the line."""
    source = project.config.read_text()
    project.config.write_text(
        source + KNOWN.format(output="YES", passes="true") + KNOWN.format(output="no", passes="false")
    )
    right = project.json("doctor", project.config)
    project.config.write_text(source + KNOWN.format(output="yes", passes="true"))
    code, _, err = project.run("doctor", project.config)

    assert right["known"] == 2
    assert code == 2
    line = source.count("\n") + 2
    said = (
        "of number 1, 'yes', the metric gives 0, which fails it, and it is known to be good: mend the metric, or write"
    )
    assert f"wordgrad.toml:{line}: metric.known: {said} passes = false" in err


def test_a_known_output_needs_a_target_and_a_score(project: Project) -> None:
    """What is wrong with the table is not blamed on the metric, nor is a metric blamed for more than it did."""
    source = project.config.read_text()
    project.config.write_text(f'{source}\n[[metric.known]]\noutput = "YES"\npasses = true\n')
    targetless = project.run("doctor", project.config)
    (project.folder / "own_none.py").write_text(
        "import wordgrad as wg\n\n\ndef none(output, target):\n    return wg.Score(None)\n"
    )
    table = '[metric]\nkind = "function"\nfunction = "own_none:none"\n'
    project.config.write_text(source.replace("[search]", f"{table}{KNOWN.format(output='a', passes='true')}\n[search]"))
    scoreless = project.run("doctor", project.config)

    assert (targetless[0], scoreless[0]) == (2, 2)
    assert "metric.known: number 1 needs a target, as the rows have one" in targetless[2]
    assert "metric.known: of number 1, 'a', the metric gives no score: mend it" in scoreless[2]


def test_an_outage_is_no_score(project: Project) -> None:
    """An engine that does not answer ends it with the service's error."""
    from wordgrad.errors import EngineError

    project.engine(RuleEngine(lambda _: EngineError("no such key", retryable=False, status=401), name="fake"))
    code, _, err = project.run("doctor", project.config)

    assert code == 4
    assert "no such key" in err


def test_looks_are_kept(project: Project) -> None:
    """Each look, and the rehearsal, is a run in the store, with its score and calls."""
    project.engine(Pupil())
    project.json("doctor", project.config)
    found = project.json("runs", "list")

    assert [(each["name"].split()[0], each["status"], each["report"]["score"]) for each in found] == [
        ("doctor", "done", 0.0),
        ("doctor", "done", 0.0),
        ("doctor", "done", 0.0),
    ]
    assert sum(each["report"]["calls"] for each in found) == 1 + 2 * 6 + 4 + 4 + 2 + 4


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: 0.0,
        lambda rng: float(rng.random() < 0.05),
        lambda rng: float(rng.random() < 0.5),
        lambda rng: rng.betavariate(0.2, 3.8),
        lambda rng: rng.betavariate(2, 2),
    ],
    ids=["0", "right in 5 %", "right in 50 %", "graded, 0.05", "graded, 0.5"],
)
def test_an_interval_holds_the_mean(draw: Callable[[random.Random], float], request: pytest.FixtureRequest) -> None:
    """In 95 % of samples or more; 927 of 1,000 is what that share falls short of once in a thousand times."""
    mean = {"0": 0.0, "right in 5 %": 0.05, "graded, 0.05": 0.05}.get(request.node.callspec.id, 0.5)
    rng = random.Random(7)
    intervals = [mean_interval([draw(rng) for _ in range(50)], rng=rng) for _ in range(1_000)]

    assert sum(low <= mean <= high for low, high in intervals) >= 927


def test_an_interval_is_as_narrow_as_its_scores_allow() -> None:
    """Fifty rows, half of them right, leave 32 points; ten times as many leave 9."""
    few, many = (mean_interval([0.0, 1.0] * half, rng=random.Random(0)) for half in (25, 250))

    assert [round(each, 2) for each in (*few, *many)] == [0.36, 0.68, 0.47, 0.56]


def test_an_interval_without_a_score_is_everything() -> None:
    """Nothing is known then; the bounds are the metric's."""
    assert mean_interval([], rng=random.Random(0), bounds=(1.0, 5.0)) == (1.0, 5.0)
