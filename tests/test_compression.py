"""`compressions`: a text that grew in the search is said in fewer words, where that does as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, START, Project, Pupil, breaking, project
from stored import rows
from wordgrad.data.split import divide
from wordgrad.train.events import Phase
from wordgrad.train.search import Search
from wordgrad.types import Request

__all__ = ["project"]

LONG = "Say it in CAPITALS, which is to say that all of the letters have to be large."
TRAIN, VALIDATION, TEST = (
    [{"word": f"{split}{number}", "shout": f"{split}{number}".upper()} for number in range(count)]
    for split, count in (("train", 8), ("held", 12), ("test", 5))
)


class Wordy(Pupil):
    """Its rewrites are long, unless fewer words are asked for.

    Args:
        shorter: The texts that it then gives, one a draw.
    """

    def __init__(self, *shorter: str) -> None:
        super().__init__({"value": LONG})
        self.shorter = shorter

    def said(self, request: Request) -> Any:
        """The reply to one request."""
        if request.purpose == "optimize" and "Use at most" in request.messages[-1].text:
            return {"value": self.shorter[request.sample[-1]]}
        return super().said(request)

    def asked(self, purpose: str) -> list[str]:
        """The prompts of one purpose."""
        return [each.prompt for each in self.history if each.request.purpose == purpose]


def same(output: str, target: str) -> bool:
    """The output is the target."""
    return output == target


def trained(
    engine: Wordy, metric: Any = same, *, start: str = START, guardrails: Any = None, **options: Any
) -> tuple[wg.Result, Wordy]:
    """What training with as many compressions as the engine has finds."""
    prompt = wg.Variable(start, "system prompt", requires_grad=True)

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return wg.llm_call(variables["prompt"], example["word"], engine=engine)

    plan = wg.Plan(steps=2, batch=4, candidates=2, critic=engine, compressions=len(engine.shorter))
    made = {"plan": plan, "input": "word", "target": "shout", "guardrails": guardrails}
    trainer = wg.Trainer(program, metric, variables={"prompt": prompt}, **made)
    return trainer.fit(TRAIN, VALIDATION, TEST, **options), engine


def search_of(result: wg.Result) -> Search:
    """Its steps."""
    return result.outcome.search


def test_a_shorter_text_that_does_as_well_takes_its_place() -> None:
    """Of equals the shortest; it alone meets the sealed rows."""
    result, engine = trained(Wordy("Say it in CAPITALS, all.", BETTER, "Shout."))

    assert (result.values, result.accepted, result.status) == ({"prompt": BETTER}, True, "done")
    first, second, last = search_of(result).steps
    assert (first.after, second.reason) == ({"prompt": LONG}, "4 of 4 rows of the batch pass: nothing to learn from")
    assert (last.compression, last.accepted, last.before, last.after) == (
        True,
        True,
        {"prompt": LONG},
        {"prompt": BETTER},
    )
    assert last.reason == (
        "the best of 3 shorter texts does as well: 100% on 6 selection rows, the present text 100% on 6"
    )
    assert "Use at most" in engine.asked("optimize")[-1]
    assert len(engine.asked("backward")) == 4  # no critic has a part in it


def test_a_shorter_text_that_does_worse_is_not_taken() -> None:
    """The long one is kept, and is what the sealed rows decide on."""
    result, _ = trained(Wordy("Shout.", "Say."))

    assert (result.values, result.accepted) == ({"prompt": LONG}, True)
    assert search_of(result).steps[-1].reason.startswith("the best of 2 shorter texts does worse: 0% on 6")


def test_a_rewrite_that_is_no_shorter_does_not_race() -> None:
    """What grows is no compression."""
    result, _ = trained(Wordy(f"{LONG} All of them."))

    last = search_of(result).steps[-1]
    assert (last.reason, last.lead) == ("no usable rewrite: none is shorter than the present text", None)
    assert (result.values, result.status) == ({"prompt": LONG}, "done")


@pytest.mark.parametrize("start", [f"{LONG} {LONG}", START + " " * 100], ids=["nothing was found", "it is shorter"])
def test_what_did_not_grow_is_not_compressed(start: str) -> None:
    """The start stayed, or what was found is shorter than it."""
    result, engine = trained(Wordy(BETTER), start=start)

    assert not any(each.compression for each in search_of(result).steps)
    assert not any("Use at most" in each for each in engine.asked("optimize"))
    assert result.status == "done"


def test_texts_are_not_compressed_unasked() -> None:
    """It takes calls, so it is a choice."""
    result, engine = trained(Wordy())

    assert [each.compression for each in search_of(result).steps] == [False, False]
    assert result.values == {"prompt": LONG}
    assert not any("Use at most" in each for each in engine.asked("optimize"))


def test_why_no_text_is_shorter_is_said() -> None:
    """As of any rewrite."""

    class Refusing(Wordy):
        """Does not want to."""

        def said(self, request: Request) -> Any:
            fewer = any("Use at most" in each.text for each in request.messages)
            return "I am sorry." if fewer else super().said(request)

    last = search_of(trained(Refusing(BETTER))[0]).steps[-1]

    assert (last.compression, last.accepted) == (True, False)
    assert re.match("no usable rewrite: prompt: .*JSON", last.reason)


def test_the_start_is_no_compression() -> None:
    """Nothing that was found may end in what there was before it."""
    result, _ = trained(Wordy(START))

    assert search_of(result).steps[-1].reason == "no usable rewrite: none is shorter than the present text"
    assert result.values == {"prompt": LONG}


TERSE = "CAPITALS."


class Terse(Wordy):
    """With the terse text its answers have no mark of politeness, and nothing else to tell them."""

    def __init__(self) -> None:
        super().__init__(TERSE)

    def said(self, request: Request) -> Any:
        polite = request.purpose == "forward" and request.messages[0].text != TERSE
        return f"{super().said(request)}{'!' * polite}" if request.purpose == "forward" else super().said(request)


def loud(output: str, target: str) -> bool:
    """Polite or not."""
    return output.strip("!") == target


def polite(output: str, target: str) -> bool:
    """It ends with a mark."""
    return output.endswith("!")


def judged_polite(output: str, target: str) -> wg.Score:
    """What ends with no mark cannot be judged."""
    return wg.Score(1.0 if polite(output, target) else None)


def loud_if_polite(output: str, target: str) -> wg.Score:
    """What ends with no mark cannot be judged."""
    return wg.Score(float(loud(output, target)) if polite(output, target) else None)


def quiet(output: str, target: str) -> float:
    """Small letters, and a point for what is not polite."""
    return float(not loud(output, target)) + 0.5 * (not polite(output, target))


@pytest.mark.parametrize(
    ("metric", "guardrails", "reason"),
    [
        (loud, {"tone": wg.Guardrail(polite, margin=0.5)}, "does worse by 'tone': 100% on 6 selection rows"),
        (loud, {"tone": wg.Guardrail(polite, margin=0)}, "does worse: 0% on 6 selection rows"),
        (loud, {"tone": wg.Guardrail(judged_polite, margin=0.5)}, "does worse by 'tone': 100% on 6 selection rows"),
        (loud, {"tone": wg.Guardrail(judged_polite, margin=0)}, "does worse by 'tone': 100% on 6 selection rows"),
        (loud_if_polite, {}, "does worse: - on 0 selection rows"),
        (wg.MetricLoss(quiet, bounds=(0, 2), higher_is_better=False), {}, "does worse: 0.5 on 6 selection rows"),
    ],
    ids=["guardrail", "hard", "unjudged guardrail", "unjudged hard", "unjudged", "lower is better"],
)
def test_what_a_shorter_text_loses_keeps_the_long_one(metric: Any, guardrails: Any, reason: str) -> None:
    """By the target, or by a guardrail, or because it is not known; the long one is then accepted."""
    result, _ = trained(Terse(), metric, guardrails=guardrails)
    last = search_of(result).steps[-1]

    assert (last.compression, last.accepted) == (True, False)
    assert last.reason.startswith(f"the one shorter text {reason}")
    assert (result.values, result.accepted) == ({"prompt": LONG}, True)


def test_a_judge_that_guards_is_not_asked_in_the_search() -> None:
    """What it dislikes is found by the sealed rows, and no search can learn to please it."""

    class Judged(Terse):
        """Likes what is polite."""

        def said(self, request: Request) -> Any:
            if request.purpose != "judge":
                return super().said(request)
            return {"critique": "Well.", "score": float("!" in request.messages[-1].text)}

    engine = Judged()
    guard = wg.Guardrail(wg.JudgeLoss("Is it polite?", engine), margin=0.9)
    result, _ = trained(engine, loud, guardrails={"judge": guard})
    selection = divide([row["word"] for row in VALIDATION], seed=0, group=lambda word: word).selection

    assert search_of(result).steps[-1].accepted
    assert engine.asked("judge")
    assert not any(word.upper() in each for each in engine.asked("judge") for word in selection)


def test_what_did_not_grow_is_not_touched() -> None:
    """Another variable, which no row uses, stays as it was; and nobody is asked about it."""
    engine = Wordy(BETTER)
    variables = {
        name: wg.Variable(text, name, requires_grad=True) for name, text in (("used", START), ("unused", "Say it."))
    }

    def program(given: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return wg.llm_call(given["used"], example["word"], engine=engine)

    plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine, compressions=1)
    trainer = wg.Trainer(program, same, variables=variables, plan=plan, input="word", target="shout")
    result = trainer.fit(TRAIN, VALIDATION)

    assert result.values == {"used": BETTER, "unused": "Say it."}
    assert len(engine.asked("optimize")) == 2
    assert search_of(result).steps[-1].feedback["unused"] == ()


@pytest.mark.parametrize(("second", "end"), [(BETTER, BETTER), (f"{LONG} And so on.", LONG)])
def test_no_variable_grows_for_another(second: str, end: str) -> None:
    """All that grew are compressed together, and each has to be shorter."""

    class Chain(Wordy):
        """The rewrites of two prompts."""

        def said(self, request: Request) -> Any:
            fewer = request.purpose == "optimize" and "Use at most" in request.messages[-1].text
            return {"value": BETTER if request.node == "first" else second} if fewer else super().said(request)

    engine = Chain(BETTER)
    names = ("first", "second")
    variables = {name: wg.Variable(f"{START} {name}", name, requires_grad=True) for name in names}

    def program(given: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return wg.llm_call(given["second"], wg.llm_call(given["first"], example["word"], engine=engine), engine=engine)

    plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine, compressions=1)
    trainer = wg.Trainer(program, same, variables=variables, plan=plan, input="word", target="shout")
    result = trainer.fit(TRAIN, VALIDATION)

    assert search_of(result).steps[-1].compression
    assert result.values == dict.fromkeys(names, end)


def test_a_race_that_the_budget_ends_proves_no_shorter_text() -> None:
    """Right on the first rows, it is compared on all of them where that can be paid for, and else not taken."""

    class Half(Wordy):
        """With the terse text it is right in the first heat, and in no other."""

        def said(self, request: Request) -> Any:
            if request.purpose == "forward" and request.messages[0].text == TERSE:
                word = request.messages[-1].text
                if len(self.heat) < 8:
                    self.heat.add(word)
                return word.upper() if word in self.heat else word
            return super().said(request)

        def __init__(self) -> None:
            super().__init__(TERSE)
            self.heat: set[str] = set()

    many = [{"word": f"held{number}", "shout": f"HELD{number}"} for number in range(40)]

    def fitted(limit: int | None) -> tuple[wg.Result, str]:
        engine = Half()
        prompt = wg.Variable(START, "system prompt", requires_grad=True)

        def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
            return wg.llm_call(variables["prompt"], example["word"], engine=engine)

        plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine, compressions=1)
        trainer = wg.Trainer(program, same, variables={"prompt": prompt}, plan=plan, input="word", target="shout")
        result = trainer.fit(TRAIN, many, TEST, budget=wg.Budget(calls=limit))
        return result, search_of(result).steps[-1].reason

    whole, reason = fitted(None)
    short, cut = fitted(whole.record.calls[0] + 2 * 20 + 5 + 2 * 8 + 2)

    assert reason.startswith("the one shorter text does worse: 50% on 16 selection rows, the present text 100% on")
    assert cut == "the one shorter text led, and the budget has no room to compare it on all rows"
    assert whole.values == short.values == {"prompt": LONG}


def test_a_judge_of_pairs_compares_with_the_long_text() -> None:
    """Where it prefers neither, the shorter one stays."""

    class Judge(Wordy):
        """Likes capitals, and sees no other difference."""

        def said(self, request: Request) -> Any:
            if request.purpose != "judge":
                return super().said(request)
            if "better" not in str(request.schema):
                return {"critique": "Too quiet.", "score": 0.0}
            first, second = (text.isupper() for text in self.answers(request))
            return {"reason": "loud", "better": "neither" if first == second else "first" if first else "second"}

        @staticmethod
        def answers(request: Request) -> list[str]:
            """Both answers; the words of a row and a number, as they were said."""
            return [each for each in request.messages[-1].text.split() if each[:4].lower() in ("held", "test")][-2:]

    engine = Judge(BETTER)
    prompt = wg.Variable(START, "system prompt", requires_grad=True)

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return wg.llm_call(variables["prompt"], example["word"], engine=engine)

    plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine, compressions=1)
    loss = wg.JudgeLoss("Is it loud?", engine)
    trainer = wg.Trainer(program, loss, variables={"prompt": prompt}, plan=plan, input="word", target=None)
    last = search_of(trainer.fit(TRAIN, VALIDATION)).steps[-1]

    assert (last.compression, last.accepted, last.after) == (True, True, {"prompt": BETTER})
    assert (last.lead and last.lead.start, last.lead and last.lead.candidate) == (0.5, 0.5)


def test_a_budget_that_has_no_room_for_it_says_so() -> None:
    """What the end needs is held back, so the long text meets the sealed rows."""
    shorter = ("Shout 1.", "Shout 2.", "Shout 3.", BETTER)
    whole, _ = trained(Wordy(*shorter))
    end, step, race = 2 * 6 + 5, 4 + 3 * 6, 5 * 6
    limit = whole.record.calls[0] + end + step + 3
    assert limit < whole.record.calls[1] + end + race
    result, engine = trained(Wordy(*shorter), budget=wg.Budget(calls=limit))

    assert (len(search_of(result).steps), search_of(result).planned) == (2, 3)
    assert (result.status, result.values) == ("budget", {"prompt": LONG})
    assert not any("Use at most" in each for each in engine.asked("optimize"))


def test_the_command_line_has_it(project: Project) -> None:
    """In [search]; shown as a step, replayed to the byte, and within what was predicted and estimated."""
    project.change("candidates = 2", "candidates = 2\ncompressions = 2")
    project.engine(Wordy(BETTER, "Shout."))
    estimate = project.json("estimate", project.config)["all"]["calls"]
    project.change("compressions = 2", "compressions = 0")
    assert estimate["most"] - project.json("estimate", project.config)["all"]["calls"]["most"] == (2 + 1) * 6 + 2 * 2
    project.change("compressions = 0", "compressions = 2")
    bound = project.json("doctor", project.config)["run"]["bound"]
    run = project.json("optimize", project.config)
    _, shown, _ = project.run("runs", "show", run["run"])
    _, report, _ = project.run("runs", "export", run["run"])

    assert run["variables"][0]["end"] == BETTER
    assert (run["steps"], run["calls"] <= bound["calls"] <= estimate["most"]) == (3, True)
    assert "step 3: a shorter text leads" in shown
    assert "## Step 3: a shorter text leads" in report
    assert project.json("runs", "replay", run["run"])["same"] is True


@pytest.mark.parametrize("after", range(5, 10))
def test_wherever_it_is_interrupted_it_ends_alike(
    project: Project, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Before it, in it, and where the sealed rows decide on what it left."""
    project.change("candidates = 2", "candidates = 2\ncompressions = 2")
    project.engine(Wordy(BETTER, "Shout."))
    calm = project.json("optimize", project.config, "--store", project.folder / "calm.db")
    with monkeypatch.context() as patched:
        patched.setattr("wordgrad.cli.screen.Screen.__call__", breaking(Phase, KeyboardInterrupt(), after=after))
        assert project.run("optimize", project.config)[0] == 130
    ((run,),) = rows(project.store, "SELECT id FROM runs")
    resumed = project.json("runs", "resume", run)

    assert [resumed[name] for name in ("variables", "decision", "steps", "calls")] == [
        calm[name] for name in ("variables", "decision", "steps", "calls")
    ]


def test_a_branch_may_ask_for_it_at_the_end(project: Project) -> None:
    """What the run had found is compressed, and nothing else is paid."""
    project.engine(Wordy(BETTER))
    run = project.json("optimize", project.config)["run"]
    engine = Wordy(BETTER)
    project.engine(engine)
    branch = project.json("runs", "replay", run, "--from-step", 3, "--set", "search.compressions=1")

    assert branch["variables"][0]["end"] == BETTER
    assert len(engine.asked("optimize")) == 1
    assert not engine.asked("backward")
    assert project.json("runs", "replay", branch["run"])["same"] is True


def test_there_is_no_branch_after_it(project: Project) -> None:
    """A compression is the last step; what is to follow must come before it."""
    project.change("candidates = 2", "candidates = 2\ncompressions = 1")
    project.engine(Wordy(BETTER))
    run = project.json("optimize", project.config)["run"]
    code, _, err = project.run("runs", "replay", run, "--from-step", 4, "--set", "search.steps=5")

    assert code == 2
    assert f"run {run} made 2 steps" in " ".join(err.split())
    assert rows(project.store, "SELECT count(*) FROM runs") == [(1,)]
