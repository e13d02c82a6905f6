"""What a run is predicted to take, once the doctor has looked at its start."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from engines import verdicts
from project import BETTER, Project, Pupil, Silent, Two, own_modules, project
from wordgrad.testing import Reply, RuleEngine
from wordgrad.types import Price, Request

__all__ = ["own_modules", "project"]

PRICE = Price(input_usd=1.0, output_usd=4.0)
SHOUTED_TWICE = """\
import wordgrad as wg

engine = None


def twice(variables, row):
    said = row["word"]
    for prompt in variables.values():
        said = wg.llm_call(prompt, said, engine=engine)
    return said
"""


def predicted(project: Project, *options: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the doctor expects of a run, and its bound."""
    run = project.json("doctor", project.config, *options)["run"]
    return run["expected"], run["bound"]


def taken(project: Project) -> dict[str, Any]:
    """What a run takes, in the doctor's words."""
    found = project.json("optimize", project.config)
    tokens = found["tokens"]
    return {"calls": found["calls"], "tokens": tokens["input"] + tokens["output"], "usd": found["cost_usd"]}


def perfect(project: Project) -> None:
    """Begin with a text that has every row right."""
    project.prompt.write_text(BETTER, encoding="utf-8")


def chained(project: Project, engine: RuleEngine, monkeypatch: pytest.MonkeyPatch, *, start: str) -> None:
    """Let a program of the user's own ask twice, with a prompt each."""
    (project.folder / "own_twice.py").write_text(SHOUTED_TWICE, encoding="utf-8")
    source = project.config.read_text(encoding="utf-8")
    variables = "".join(
        f'[variables.p{place}]\nrole = "prompt {place}"\ntext = "{start} {place}"\n\n' for place in (1, 2)
    )
    source = source[: source.index("[variables.prompt]")] + variables + source[source.index("[data]") :]
    source = source.replace('[engines.forward]\nengine = "fake"\nmax_tokens = 20\n\n', "")
    project.config.write_text(f'program = "own_twice:twice"\n{source}', encoding="utf-8")
    project.engine(engine)
    monkeypatch.syspath_prepend(str(project.folder))
    import own_twice  # type: ignore[import-not-found]

    own_twice.engine = engine


class Wordy(Pupil):
    """A pupil that says each word twenty times where it is wrong."""

    def said(self, request: Request) -> Reply:
        said = super().said(request)
        return said * 20 if request.purpose == "forward" and said == str(said).lower() else said  # type: ignore[operator]


class Judge(Pupil):
    """A pupil that also judges: whatever it is shown is good."""

    def said(self, request: Request) -> Reply:
        return {"critique": "Well.", "score": 0.95} if request.purpose == "judge" else super().said(request)


# ---- where the course of the run is fixed


def test_the_calls_of_a_perfect_start_are_exact(project: Project) -> None:
    """Nothing fails, so nothing is learned: the run makes the calls that are expected."""
    perfect(project)

    expected, _ = predicted(project)

    assert expected["calls"] == taken(project)["calls"]


@pytest.mark.parametrize("train", [8, 6, 5])
def test_no_training_row_is_paid_twice(project: Project, train: int) -> None:
    """Later passes over few training rows ask again; the rehearsal has drawn the same ones."""
    perfect(project)
    project.rows("train", [f"train{number}" for number in range(train)])

    expected, _ = predicted(project)

    assert expected["calls"] == taken(project)["calls"]


def test_calls_of_a_program_are_those_that_it_made(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of the user's own that asks twice a row is counted so, with its tokens and money."""
    chained(project, Pupil(price=PRICE), monkeypatch, start=BETTER)

    expected, _ = predicted(project)
    took = taken(project)

    assert expected["calls"] == took["calls"] == 1 + 2 * (5 + 8)
    assert expected["tokens"] == pytest.approx(took["tokens"], rel=0.05)
    assert expected["usd"] == pytest.approx(took["usd"], rel=0.05)


@pytest.mark.parametrize("test", [40, 80])
def test_what_few_made_up_runs_take_moves_nothing(project: Project, test: int) -> None:
    """A run in which a row fails after all would take half as much again; most of those made up take the same."""
    perfect(project)
    project.rows("test", [f"test{number}" for number in range(test)])

    expected, bound = predicted(project)

    assert expected["calls"] == bound["calls"] == taken(project)["calls"]


@pytest.mark.parametrize("times", [2, 4])
def test_training_rows_that_ask_the_same_are_paid_once(project: Project, times: int) -> None:
    """Where nothing fails the calls are exact; where rows do, a row costs no less for it."""
    words = [f"train{number // times}" for number in range(8)]
    project.rows("train", words)
    project.rows("validation", [f"held{number}" for number in range(60)])
    project.change("batch = 4", "batch = 8")
    project.engine(Two())
    repeated, most = predicted(project)
    took = taken(project)["calls"]
    perfect(project)
    project.change("steps = 2", "steps = 1")
    exact, _ = predicted(project)

    assert took <= most["calls"]
    assert repeated["calls"] == pytest.approx(took, rel=0.2)
    assert exact["calls"] == taken(project)["calls"]


def test_all_rows_that_were_asked_say_what_one_takes(project: Project) -> None:
    """The one row of validation that is looked at is short; the rehearsed ones are as long as those of the run."""
    perfect(project)
    project.rows("train", [f"train{number} " * 30 for number in range(8)])
    project.rows("test", [f"test{number} " * 30 for number in range(5)])

    expected, bound = predicted(project, "--rows", "1")
    took = taken(project)["tokens"]

    assert expected["tokens"] == pytest.approx(took, rel=0.2)
    assert took <= bound["tokens"] <= 2 * took


def test_a_judge_is_counted(project: Project) -> None:
    """Each answer is judged once, and each known output."""
    project.engine(Judge())
    source = project.config.read_text(encoding="utf-8")
    rubric = '[metric]\nkind = "rubric"\nrubric = "Is it shouted?"\npassing = 0.9\n'
    known = '\n[[metric.known]]\noutput = "YES"\npasses = true\n'
    project.config.write_text(source.replace("[search]", f"{rubric}{known}\n[search]"), encoding="utf-8")

    expected, _ = predicted(project)

    assert expected["calls"] == taken(project)["calls"] == 1 + 1 + 2 * (5 + 8)


# ---- where it is not


@pytest.mark.parametrize("strategy", ["per_node", "per_edge", "fused"])
@pytest.mark.parametrize("rewrite", [None, {"value": "Say it slowly."}, "no rewrite at all"], ids=["good", "bad", "no"])
def test_the_bound_holds_calls_tokens_and_money(project: Project, rewrite: Reply | None, strategy: str) -> None:
    """Whether it learns or not, a run whose rows are like those looked at stays below."""
    project.change("candidates = 2", f'candidates = 2\nstrategy = "{strategy}"')
    project.engine(Pupil(rewrite, price=PRICE))

    _, bound = predicted(project)
    took = taken(project)

    assert {name: took[name] <= bound[name] for name in took} == {"calls": True, "tokens": True, "usd": True}


def test_a_prediction_lies_within_what_is_promised(project: Project) -> None:
    """Least, expected, the bound and most come in this order."""
    found = project.json("doctor", project.config)["run"]
    calls = [found["calls"]["least"], found["expected"]["calls"], found["bound"]["calls"], found["calls"]["most"]]

    assert calls == sorted(calls)
    assert found["expected"]["tokens"] < found["bound"]["tokens"] < found["tokens"]


@pytest.mark.parametrize(
    ("compressions", "more"), [(0, 0), (1, 2 * 80), (5, 6 * 8 + 5 * 8 + 3 * 8 + 3 * 8 + 12 * 8 + 72)]
)
def test_no_run_takes_more_answers_than_its_races_can(project: Project, compressions: int, more: int) -> None:
    """Two steps of a batch and a race, the end, and a race of shorter texts with the present one then on all rows."""
    project.change("candidates = 2", f"candidates = 12\ncompressions = {compressions}")
    project.rows("validation", [f"held{number}" for number in range(160)])
    most = project.json("estimate", project.config)["answers"]["calls"]["most"]

    entrants = (13, 10, 7, 5, 4, 4, 3, 3, 3, 2)  # at most 1.5 / k of 13 in the k-th block of 8 rows
    assert most == 5 + 2 * (4 + 8 * sum(entrants)) + more + 2 * 80 + 5


def test_longer_answers_are_expected_to_cost_more(project: Project) -> None:
    """What the looks measured is what rows are taken to cost; a start that fails alike makes as many calls."""
    short, _ = predicted(project)
    project.engine(Wordy())
    long, _ = predicted(project)

    assert long["calls"] == short["calls"]
    assert long["tokens"] > short["tokens"] + 20 * (short["calls"] - 30)


def test_critics_are_expected_for_failing_rows_only(project: Project) -> None:
    """A start that fails on half as many rows pays fewer critics, and as much for the rest of a busy step."""
    project.change("candidates = 2", "candidates = 1")
    all_fail, all_bound = predicted(project)
    project.engine(RuleEngine(half, name="fake"))
    half_fail, half_bound = predicted(project)

    assert half_fail["calls"] < all_fail["calls"]
    assert half_bound["calls"] <= all_bound["calls"]


def half(request: Request) -> Reply:
    """A start that has the words with an even number right."""
    word = request.messages[-1].text
    return word.upper() if request.purpose == "forward" and word[-1] in "02468" else Pupil().said(request)


def test_strategies_are_told_apart(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a chain of two calls a failing row has three critics, one for each call, or one."""
    chained(project, Pupil(), monkeypatch, start="Say it.")
    fused, edge, node = (f'strategy = "{each}"' for each in ("fused", "per_edge", "per_node"))
    project.change("candidates = 2", f"candidates = 2\n{fused}")
    project.change("steps = 2", "steps = 1")
    project.rows("validation", [f"held{number}" for number in range(120)])
    said = {fused: predicted(project)[0]["calls"]}
    for before, after in ((fused, edge), (edge, node)):
        project.change(before, after)
        said[after] = predicted(project)[0]["calls"]

    # All four rows of the rehearsed batch fail.
    assert (said[edge] - said[node], said[node] - said[fused]) == (4, 4)


def test_a_prediction_is_the_same_each_time(project: Project) -> None:
    """The runs that are made up follow from the seed."""
    assert predicted(project) == predicted(project)


def test_a_compression_is_predicted(project: Project) -> None:
    """At the end, if something is learned: its rewrites, and a race of them on six rows."""
    project.engine(Two())
    before = predicted(project)
    project.change("candidates = 2", "candidates = 2\ncompressions = 3")
    more = [now["calls"] - old["calls"] for now, old in zip(predicted(project), before, strict=True)]

    assert more == [18, 20]


def test_rewrites_that_help_are_expected_to_end_a_race_early(project: Project) -> None:
    """What rewrites did to the rows that they were written for, they are taken to do in races."""
    project.rows("validation", [f"held{number}" for number in range(120)])
    project.change("candidates = 2", "candidates = 4")
    project.engine(Two())
    helpful, _ = predicted(project)
    project.engine(Two({"value": "Say it slowly."}))
    useless, _ = predicted(project)

    assert helpful["calls"] < useless["calls"] - 60


def test_answers_that_a_rewrite_makes_longer_are_expected(project: Project) -> None:
    """What rewrites took on the rows that they were tried on is what they are taken to cost in races."""

    class Slowly(Pupil):
        """Says a word forty times where the prompt has it said slowly."""

        def said(self, request: Request) -> Reply:
            said = super().said(request)
            slow = request.purpose == "forward" and "slowly" in request.messages[0].text
            return str(said) * 40 if slow else said

    rewrite: Reply = {"value": "Say it slowly."}
    project.engine(Pupil(rewrite))
    short, _ = predicted(project)
    project.engine(Slowly(rewrite))
    long, _ = predicted(project)

    assert long["calls"] == short["calls"]
    assert long["tokens"] > short["tokens"] + 40 * 12  # a race of six rows in each step, at least


def test_a_silent_critic_ends_what_is_expected(project: Project) -> None:
    """Where rows fail and nothing asks for a change, no race is paid, however many steps there are."""
    project.change("steps = 2", "steps = 10")
    project.engine(Silent())

    expected, bound = predicted(project)

    assert abs(expected["calls"] - taken(project)["calls"]) <= 2
    assert bound["calls"] < expected["calls"] + 30


def test_batches_that_taught_nothing_are_expected_to_again(project: Project) -> None:
    """Their rows fail, and no critic asked for a change: no race is paid there, but in the step that learns."""

    class Curt(Pupil):
        def said(self, request: Request) -> Reply:
            if request.purpose == "backward" and "train7" not in request.messages[-1].text:
                return verdicts(request, P1="")
            return super().said(request)

    project.change("steps = 2\nbatch = 4", "steps = 8\nbatch = 1")
    project.engine(Curt())

    expected, _ = predicted(project)

    assert abs(expected["calls"] - taken(project)["calls"]) <= 4


def test_the_comparison_after_a_compression_is_expected(project: Project) -> None:
    """It scores the shorter text on all selection rows, however early the race ended, where rewrites break no right row."""
    project.rows("train", [f"train{number}" if number % 2 else f"TRAIN{number}" for number in range(8)])
    project.rows("validation", [f"held{number}" for number in range(400)])
    project.change("batch = 4", "batch = 8")
    project.engine(Wordier())
    without, _ = predicted(project)
    project.change("candidates = 2", "candidates = 2\ncompressions = 1")
    expected, bound = predicted(project)

    assert expected["calls"] >= without["calls"] + 200
    assert taken(project)["calls"] <= bound["calls"]


class Wordier(Pupil):
    """Learns by many words, and says the same in fewer."""

    def said(self, request: Request) -> Reply:
        if request.purpose != "optimize":
            return super().said(request)
        shorter = "fewer words" in request.messages[-1].text
        return {"value": f"{BETTER} {request.sample}{'' if shorter else ' Please do.' * 10}"}


def test_a_guardrail_is_asked_of_a_perfect_start_too(project: Project) -> None:
    """Once for each test row, at the beginning; the calls are exact."""
    project.engine(Judge())
    perfect(project)
    guard = '[guardrails.polite]\nkind = "rubric"\nrubric = "Is it polite?"\nmargin = 0.2\n\n[search]'
    project.change("[search]", guard)

    expected, _ = predicted(project)

    assert expected["calls"] == taken(project)["calls"] == 1 + 2 * 5 + 8


def test_rewrites_that_cannot_be_used_do_not_race(project: Project) -> None:
    """Where none could be used in the rehearsal, no race is paid."""
    usable, _ = predicted(project)
    project.engine(Pupil("no rewrite at all"))
    unusable, _ = predicted(project)

    assert unusable["calls"] < usable["calls"] - 12


def test_a_steady_start_that_passes_its_batches_learns_nothing(project: Project) -> None:
    """The rehearsal has asked all rows that the search will learn from: the bound of calls is exact, too."""
    perfect(project)
    project.rows("validation", [f"held{number}" for number in range(60)])

    expected, bound = predicted(project)

    assert bound["calls"] == expected["calls"] == taken(project)["calls"]


def test_tokens_and_money_may_be_more_than_calls_say(project: Project) -> None:
    """Six rows that were looked at say little of how long others are; of calls there is nothing to doubt."""
    perfect(project)
    project.rows("validation", [f"held{number}" for number in range(60)])
    project.engine(Pupil(price=PRICE))

    expected, bound = predicted(project)

    assert bound["calls"] == expected["calls"]
    assert bound["tokens"] > expected["tokens"]
    assert bound["usd"] > expected["usd"]


def test_repairs_in_a_look_do_not_change_what_is_asked_once(project: Project) -> None:
    """A judge that has to be asked again in the second look alone is expected to be so in the run."""
    project.engine(Mumbling())
    source = project.config.read_text(encoding="utf-8")
    rubric = '[metric]\nkind = "rubric"\nrubric = "Is it shouted?"\npassing = 0.9\n'
    project.config.write_text(source.replace("[search]", f"{rubric}\n[search]"), encoding="utf-8")

    expected, bound = predicted(project)

    assert 1 + 2 * (5 + 8) <= expected["calls"] <= bound["calls"]
    assert expected["tokens"] > 0


class Mumbling(RuleEngine):
    """Judges everything well, and has to be asked twice when it sees a text again."""

    def __init__(self) -> None:
        super().__init__(self.said, name="fake")
        self.asked: Counter[str] = Counter()

    def said(self, request: Request) -> Reply:
        if request.purpose != "judge":
            return Pupil().said(request)
        shown = str([each.text for each in request.messages])
        self.asked[shown] += 1
        return "Well, well." if self.asked[shown] == 2 else {"critique": "Well.", "score": 0.95}


def test_rows_that_ask_the_same_are_paid_once(project: Project) -> None:
    """In the looks as in the run."""
    perfect(project)
    project.rows("validation", [f"held{number // 2}" for number in range(80)])
    project.rows("test", [f"test{number // 2}" for number in range(10)])

    expected, _ = predicted(project)

    assert expected["calls"] == taken(project)["calls"]


def test_an_unsteady_start_may_fail_later(project: Project) -> None:
    """Where rows pass in one look and fail in the other, a step may begin after all, so the bound pays for one."""
    held = project.divided().selection[0]
    asked = itertools.count()

    def rule(request: Request) -> Reply:
        word = request.messages[-1].text
        if request.purpose == "forward" and word == held and next(asked) == 0:
            return word
        return Pupil().said(request)

    perfect(project)
    project.engine(RuleEngine(rule, name="fake"))

    _, bound = predicted(project)

    # The engine, test and training rows; six selection rows, three texts; both on six sealed rows; critic and rewrites.
    assert bound["calls"] >= 1 + 5 + 8 + 3 * 6 + 2 * 6 + 3


def test_fewer_rows_looked_at_say_less(project: Project) -> None:
    """What an answer takes is less sure from two rows than from all, so the bound is above theirs."""
    perfect(project)
    project.rows("validation", [f"held{number}" for number in range(60)])

    _, few = predicted(project, "--rows", "2")
    _, all_rows = predicted(project)

    assert few["tokens"] > all_rows["tokens"]


def test_training_rows_that_pass_say_that_an_engine_is_steady(project: Project) -> None:
    """Where two looks at two rows say little, eight more that pass let the bound do without a race."""
    perfect(project)

    expected, bound = predicted(project, "--rows", "2")

    assert bound["calls"] == expected["calls"] == taken(project)["calls"]


def test_a_judge_of_a_guardrail_is_expected_too(project: Project) -> None:
    """Nothing asks it before: it is counted by rule, in races as well where no row may break it."""
    project.engine(Judge())
    _, without = predicted(project)
    guard = '[guardrails.polite]\nkind = "rubric"\nrubric = "Is it polite?"\nmargin = 0.2\n\n[search]'
    project.change("[search]", guard)
    _, at_the_end = predicted(project)
    project.change("margin = 0.2", "margin = 0")
    _, always = predicted(project)

    # On the test rows at the beginning, and both texts on the sealed ones.
    assert at_the_end["calls"] == without["calls"] + 5 + 2 * 6
    assert always["calls"] > at_the_end["calls"] + 6


def test_a_price_that_is_not_known_is_not_made_up(project: Project) -> None:
    """Money is None then, beside calls and tokens."""
    expected, bound = predicted(project)

    assert (expected["usd"], bound["usd"]) == (None, None)


# ---- how it is said


def test_the_page_says_what_is_likely_and_what_is_sure(project: Project) -> None:
    """What is expected, what 19 in 20 runs stay below, and what none exceeds."""
    project.engine(Pupil(price=PRICE))
    project.monkeypatch.setenv("COLUMNS", "300")
    found = project.json("doctor", project.config)["run"]
    _, out, _ = project.run("doctor", project.config)

    (line,) = [each.removeprefix("a run").strip() for each in out.splitlines() if each.startswith("a run")]
    expected, bound = found["expected"], found["bound"]
    assert line == (
        f"about {expected['calls']} calls, {expected['tokens']:,} tokens, US$ {expected['usd']:.2f}; 19 in 20 take at "
        f"most {bound['calls']} calls, {bound['tokens']:,} tokens, US$ {bound['usd']:.2f}; none takes more than "
        f"{found['calls']['most']} calls"
    )


def test_a_program_of_ones_own_has_no_sure_end(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it asks is nobody's to bound, so the line promises nothing."""
    chained(project, Pupil(), monkeypatch, start="Say it.")
    _, out, _ = project.run("doctor", project.config)

    assert "none takes more" not in out


def test_rewrites_are_bounded_for_every_variable(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable has candidates of its own, and each of these a repair."""
    chained(project, Pupil(), monkeypatch, start="Say it.")

    steps, candidates, variables = 2, 2, 2
    assert project.json("estimate", project.config)["rewrites"]["calls"]["most"] == 2 * steps * candidates * variables
