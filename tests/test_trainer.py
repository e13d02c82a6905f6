"""`Trainer`: any program, any metric, and only what sealed rows prove."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest

import wordgrad as wg
from engines import verdicts
from project import BETTER, START, Pupil, Silent
from stored import rows
from wordgrad.store.database import Database
from wordgrad.store.runs import find
from wordgrad.testing import RuleEngine
from wordgrad.train.events import Advance, Event, Phase
from wordgrad.types import Request

LIMIT_S = 60
ENDED = "SELECT json_extract(body, '$.status') FROM events WHERE kind = 'status'"


def words(split: str, count: int) -> list[dict[str, str]]:
    """Examples that ask to shout."""
    return [{"word": f"{split}{number}", "shout": f"{split}{number}".upper()} for number in range(count)]


TRAIN, VALIDATION, TEST = words("train", 8), words("held", 12), words("test", 5)


def same(output: str, target: str) -> bool:
    """The output is the target."""
    return output == target


def shout(
    engine: wg.Engine,
) -> tuple[wg.Variable, Callable[[Mapping[str, wg.Variable], Mapping[str, Any]], wg.Variable]]:
    """A prompt, and a function that asks with it."""
    prompt = wg.Variable(START, "system prompt", requires_grad=True)

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return wg.llm_call(variables["prompt"], example["word"], engine=engine)

    return prompt, program


def trainer(engine: RuleEngine, metric: Any = same, **options: Any) -> tuple[wg.Variable, wg.Trainer]:
    """The prompt, and who trains it."""
    prompt, program = shout(engine)
    plan = wg.Plan(steps=2, batch=4, candidates=2, critic=engine)
    made = {"plan": plan, "input": "word", "target": "shout", **options}
    return prompt, wg.Trainer(program, metric, variables={"prompt": prompt}, **made)


# ---- what it finds


def test_a_better_text_is_left_in_the_variable() -> None:
    """The result says why; the variable holds the text, and the test rows bear it out."""
    prompt, training = trainer(Pupil())
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert (prompt.value, result.values, result.accepted, result.status) == (BETTER, {"prompt": BETTER}, True, "done")
    assert str(result) == (
        "the new text is better (6 sealed validation rows: better on 6, worse on 0). Were it no better, chance would do "
        "as well once in 64 runs"
    )
    assert result.outcome.gain is not None
    assert (result.outcome.gain.difference, result.outcome.gain.n) == (1.0, 5)


def test_without_test_rows_the_sealed_ones_decide() -> None:
    """The report needs test rows, the decision does not."""
    prompt, training = trainer(Pupil())
    result = training.fit(TRAIN, VALIDATION)

    assert (prompt.value, result.outcome.test_start, result.outcome.gain) == (BETTER, None, None)


def test_a_text_that_memorised_what_it_saw_is_not_kept() -> None:
    """Better on the rows that the search looked at, and on no other: the start is in the variable again."""

    class Memory(Pupil):
        """Shouts what races have shown, and only that."""

        def said(self, request: Request) -> Any:
            if request.purpose == "forward" and request.messages[-1].text in sealed:
                return request.messages[-1].text
            return super().said(request)

    sealed = sealed_words()
    prompt, training = trainer(Memory())
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert (prompt.value, result.accepted, result.values) == (START, False, {"prompt": START})
    assert result.outcome.found == {"prompt": BETTER}
    assert str(result) == (
        "the start is kept: the best new text is not proved to be better (6 sealed validation rows: better on 0, worse "
        "on 0). It is better with a probability of 50%"
    )


def sealed_words() -> set[str]:
    """The validation rows that a preflight does not ask about: what it may see, the search may."""
    engine = Pupil()
    _, training = trainer(engine)
    training.preflight(TRAIN, VALIDATION)
    return {row["word"] for row in VALIDATION} - {each.prompt for each in engine.history}


class Chain(wg.Module):
    """Retrieves a note, asks about it, and shouts the answer in a second call; a loop asks until it is done."""

    def __init__(self, engine: wg.Engine) -> None:
        self.first = wg.Variable("Repeat it.", "system prompt of the first", requires_grad=True)
        self.prompt = wg.Variable(START, "system prompt of the second", requires_grad=True)
        self.engine = engine

    def forward(self, example: Mapping[str, Any]) -> wg.Variable:
        note = looked_up(example["word"])
        said = wg.llm_call(self.first, note, engine=self.engine)
        for _ in range(3):
            said = wg.llm_call(self.prompt, said, engine=self.engine)
            if str(said).isupper():
                break
        return said


@wg.function(pure=True)
def looked_up(word: str) -> str:
    """The note under a word."""
    return {"train0": "train0"}.get(word, word)


def test_a_module_with_a_retriever_and_a_loop_is_trained() -> None:
    """Nodes are unrolled, a shared parameter gets the feedback of each call, and the Module's own variables change."""
    engine = Pupil()
    module = Chain(engine)
    plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine)
    result = wg.Trainer(module, same, input="word", target="shout", plan=plan).fit(TRAIN, VALIDATION, TEST)

    assert result.accepted
    assert BETTER in (module.first.value, module.prompt.value)
    assert result.outcome.test_end is not None
    assert result.outcome.test_end.mean == 1.0


class Eventually(wg.Module):
    """Waits before it asks."""

    def __init__(self, engine: wg.Engine) -> None:
        self.prompt = wg.Variable(START, "system prompt", requires_grad=True)
        self.engine = engine

    async def forward(self, example: Mapping[str, Any]) -> wg.Variable:
        await anyio.lowlevel.checkpoint()
        return await wg.llm_call(self.prompt, example["word"], engine=self.engine)


@pytest.mark.parametrize("kind", ["module", "function", "object"])
def test_an_async_program_is_trained(kind: str) -> None:
    """On the library's loop; it finds what a plain one finds."""
    engine = Pupil()
    module = Eventually(engine)

    async def ask(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        await anyio.lowlevel.checkpoint()
        return wg.llm_call(variables["prompt"], example["word"], engine=engine)

    made: dict[str, Any] = {"input": "word", "target": "shout", "plan": wg.Plan(steps=1, batch=4, critic=engine)}

    class Asking:
        """An object that is called so."""

        async def __call__(self, variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
            return await ask(variables, example)

    variables = {"prompt": module.prompt}
    training = {
        "module": lambda: wg.Trainer(module, same, **made),
        "function": lambda: wg.Trainer(ask, same, variables=variables, **made),
        "object": lambda: wg.Trainer(Asking(), same, variables=variables, **made),
    }[kind]()

    assert training.fit(TRAIN, VALIDATION, TEST).accepted
    assert module.prompt.value == BETTER


def test_a_program_may_change_its_row() -> None:
    """What it does to a list in it reaches no other text: all meet the same row."""
    engine = Pupil()
    prompt, shouted = shout(engine)

    def program(variables: Mapping[str, wg.Variable], example: dict[str, Any]) -> wg.Variable:
        example["said"].append(example["word"])
        return shouted(variables, {"word": " ".join(example["said"])})

    def split(rows_: list[dict[str, str]]) -> list[dict[str, Any]]:
        return [{**row, "said": []} for row in rows_]

    training = wg.Trainer(
        program,
        same,
        variables={"prompt": prompt},
        input="word",
        target="shout",
        plan=wg.Plan(steps=2, batch=4, candidates=2, critic=engine),
    )
    result = training.fit(split(TRAIN), split(VALIDATION), split(TEST))

    assert (prompt.value, result.accepted) == (BETTER, True)
    assert not [each.prompt for each in engine.history if each.request.purpose == "forward" and " " in each.prompt]


def test_rows_that_need_no_prompt_teach_nothing() -> None:
    """A program may answer some from a table; one that answers all of them so is told where it leaves its prompt out."""
    engine = Pupil()
    prompt, asked = shout(engine)

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        known = example["word"] in tables
        return wg.Variable("known", "answer of the table") if known else asked(variables, example)

    made: dict[str, Any] = {"input": "word", "target": "shout", "plan": wg.Plan(steps=1, batch=8, critic=engine)}
    training = wg.Trainer(program, same, variables={"prompt": prompt}, **made)
    tables = {row["word"] for row in TRAIN}
    with pytest.raises(wg.GraphError, match="requires grad"):
        training.fit(TRAIN, VALIDATION, TEST)
    tables = {"train0", "train1"}
    something = training.fit(TRAIN, VALIDATION, TEST)

    assert (something.accepted, prompt.value) == (True, BETTER)


def test_a_variable_that_holds_no_text_is_refused() -> None:
    """Its Python form would be scored, and written into it."""
    engine = Pupil()
    prompt = wg.Variable({"style": "Say it."}, "settings", requires_grad=True)
    training = wg.Trainer(shout(engine)[1], same, variables={"prompt": prompt}, input="word", target="shout")

    with (
        wg.backward_engine(engine),
        pytest.raises(wg.UsageError, match="'prompt' holds a dict: training rewrites texts"),
    ):
        training.fit(TRAIN, VALIDATION, TEST)
    assert (prompt.value, engine.history) == ({"style": "Say it."}, ())


@pytest.mark.parametrize("kind", ["async", "score", "pair", "loss"])
def test_any_metric_will_do(kind: str) -> None:
    """An async function, a Score, a pair, and a Loss on another scale where less is better."""

    async def later(output: str, target: str) -> float:
        await anyio.lowlevel.checkpoint()
        return float(output == target)

    def scored(output: str, target: str) -> wg.Score:
        return wg.Score(float(output == target), "Shout.")

    def paired(output: str, target: str) -> tuple[bool, str]:
        return output == target, "Shout."

    def errors(output: str, target: str) -> float:
        return 1.0 if output == target else 5.0

    metrics: dict[str, Any] = {
        "async": later,
        "score": scored,
        "pair": paired,
        "loss": wg.MetricLoss(errors, bounds=(1.0, 5.0), higher_is_better=False),
    }
    prompt, training = trainer(Pupil(), metrics[kind])
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert (prompt.value, result.accepted) == (BETTER, True)
    assert result.decision is not None
    assert result.decision.claim.difference == (4.0 if kind == "loss" else 1.0)


def test_one_set_is_divided() -> None:
    """Without validation examples one set is divided, the same way whatever the seed, and the result says how."""
    results = []
    for seed in (0, 1):
        prompt, training = trainer(Pupil())
        results.append(training.fit(words("row", 40), seed=seed))
        assert prompt.value == BETTER

    assert results[0].rows == "12 rows to learn from, 8 to choose by, 8 sealed to confirm, 12 for the report"
    tests = [[each.n for each in (result.outcome.gain,) if each] for result in results]
    assert tests == [[12], [12]]


def test_rows_of_one_customer_stay_together_and_count_once() -> None:
    """Neither the parts nor selection and sealed rows divide a customer, and the claim is on customers."""
    examples = [{**row, "customer": number // 2} for number, row in enumerate(words("row", 80))]
    prompt, training = trainer(Pupil(), by="customer")
    result = training.fit(examples)

    assert prompt.value == BETTER
    assert result.decision is not None
    assert result.decision.claim.n == 8
    assert result.rows == "24 rows to learn from, 16 to choose by, 16 sealed to confirm, 24 for the report"


def test_a_customer_in_two_given_sets_is_told() -> None:
    """No leakage between groups, also where the sets are the user's own; who has no customer stands alone."""
    train, validation = (
        [{**row, "customer": customer} for row, customer in zip(rows_, customers, strict=True)]
        for rows_, customers in ((TRAIN, "abcdefg "), (VALIDATION, "hijklmnopqg "))
    )
    for row in (train[-1], validation[-1]):
        row["customer"] = ""
    _, training = trainer(Pupil(), by="customer")

    with pytest.raises(
        wg.UsageError, match=r"example 11 \(validation\) repeats example 7 \(train\): the same 'customer'"
    ):
        training.fit(train, validation)


# ---- no labels: a judge


class Judging(Pupil):
    """Judges by whether an answer is in capitals; in pairs, and one alone."""

    def said(self, request: Request) -> Any:
        if request.purpose != "judge":
            return super().said(request)
        text = request.messages[-1].text
        if "The second answer" not in text:
            loud = bool(re.search(r"HELD|TEST|TRAIN", text))
            return {"critique": "Shout.", "score": 1.0 if loud else 0.2}
        first, second = text.split("The second answer")
        loud_ones = [name for name, shown in (("first", first), ("second", second)) if re.search("HELD|TEST", shown)]
        return {"reason": "Louder.", "better": loud_ones[0] if len(loud_ones) == 1 else "neither"}


def test_a_rubric_compares_in_pairs() -> None:
    """Without labels a judge that is not told which text is which decides, and the result says whose opinion it is."""
    engine = Judging()
    plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine)
    prompt, training = trainer(engine, wg.JudgeLoss("Louder is better.", engine), plan=plan, target=None)
    result = training.fit(*([{"word": row["word"]} for row in split] for split in (TRAIN, VALIDATION, TEST)))

    assert (prompt.value, result.accepted) == (BETTER, True)
    assert str(result).endswith("A model judged, blind: its opinion was optimised, not the truth")
    assert result.decision is not None
    assert (result.decision.claim.start, result.decision.claim.candidate, result.decision.claim.better) == (0.5, 1.0, 6)
    assert result.outcome.gain is not None
    assert (result.outcome.gain.start, result.outcome.gain.candidate) == (0.5, 1.0)
    judged = [each.prompt for each in engine.history if each.request.purpose == "judge"]
    assert not any(words_ in asked for asked in judged for words_ in (START, BETTER))


class Sober(RuleEngine):
    """A judge of its own mind: it marks down what is shouted."""

    def __init__(self) -> None:
        super().__init__(self.said, name="sober")

    def said(self, request: Request) -> Any:
        """A verdict, or a greeting."""
        if request.purpose != "judge":
            return "ready"
        loud = re.search(r"HELD|TEST|TRAIN", request.messages[-1].text)
        return {"critique": "Loud." if loud else "Fine.", "score": 0.1 if loud else 1.0}


def test_a_held_out_judge_stops_what_games_the_first() -> None:
    """A second judge as a guardrail is not asked in the search, so that no rewrite can learn to please it."""
    engine, sober = Judging(), Sober()
    prompt, training = trainer(
        engine,
        wg.JudgeLoss("Louder is better.", engine),
        plan=wg.Plan(steps=1, batch=4, candidates=1, critic=engine),
        target=None,
        guardrails={"a second opinion": wg.Guardrail(wg.JudgeLoss("Readable: 1.", sober), margin=0.1)},
    )
    result = training.fit(*([{"word": row["word"]} for row in split] for split in (TRAIN, VALIDATION, TEST)))
    asked = [each.request for each in sober.history]

    assert (prompt.value, result.accepted) == (START, False)
    assert "'a second opinion' may have become worse: -0.9" in str(result)
    assert [each.purpose for each in asked] == ["preflight", *["judge"] * (5 + 2 * 6)]
    assert not any(re.search("train", each.messages[-1].text, re.IGNORECASE) for each in asked)


def test_a_report_has_the_scores_of_each_kind_of_row(tmp_path: Path) -> None:
    """By the tags that the metric gives, on the test rows."""

    def scored(output: str, target: str) -> wg.Score:
        kind = "even" if output[-1] in "02468" else "odd"
        return wg.Score(float(output == target), tags={"number": kind})

    _, training = trainer(Pupil(), scored)
    result = training.fit(TRAIN, VALIDATION, TEST)
    result.save(tmp_path)
    assert result.record.run.report is not None

    assert result.record.run.report["test"]["slices"] == [
        {"name": "number: even", "n": 3, "start": 0.0, "end": 1.0},
        {"name": "number: odd", "n": 2, "start": 0.0, "end": 1.0},
    ]
    assert "<td>test, number: even</td><td>3</td><td>0.0%</td><td>100.0%</td>" in (tmp_path / "report.html").read_text()


def test_each_kind_of_sealed_row_has_its_scores(tmp_path: Path) -> None:
    """With or without test rows; a text that was not accepted has not met these."""

    def scored(output: str, target: str) -> wg.Score:
        kind = "even" if output[-1] in "02468" else "odd"
        # Better on one kind of row only, which six sealed rows do not prove.
        return wg.Score(float(output == target and kind == "even"), tags={"number": kind})

    _, training = trainer(Pupil(), scored)
    result = training.fit(TRAIN, VALIDATION, TEST)
    result.save(tmp_path / "with")
    training.fit(TRAIN, VALIDATION).save(tmp_path / "without")
    kept, without = ((tmp_path / each / "report.html").read_text() for each in ("with", "without"))

    assert (result.decision is not None, result.accepted) == (True, False)
    for page in (kept, without):
        assert re.search(r"<td>sealed validation, number: even</td><td>\d</td><td>0.0%</td><td>100.0%</td>", page)
    assert "<td>test, number: even</td><td>3</td><td>0.0%</td><td></td>" in kept


# ---- guardrails


@pytest.mark.parametrize("applies_to", ["0123456789", "02468", ""])
def test_a_hard_constraint_asks_nothing_of_rows_that_it_is_not_about(applies_to: str) -> None:
    """Where it judges neither text nothing is broken; of all rows, it is said. Where it misses the new one, it is suspect."""

    def short(output: str, target: str) -> tuple[bool | None, str]:
        return (True if target[-1] in applies_to else None), ""

    def readable(output: str, target: str) -> tuple[bool | None, str]:
        return (None if output.isupper() else True), ""

    prompt, training = trainer(Pupil(), guardrails={"short": wg.Guardrail(short, 0)})
    kept, guarded = trainer(Pupil(), guardrails={"readable": wg.Guardrail(readable, 0)})

    result = training.fit(TRAIN, VALIDATION, TEST)

    assert (result.accepted, prompt.value) == (True, BETTER)
    assert str(result).endswith(". 'short' could judge no sealed row") == (not applies_to)
    assert (guarded.fit(TRAIN, VALIDATION, TEST).accepted, kept.value) == (False, START)


def test_a_guardrail_that_judges_nothing_proves_nothing() -> None:
    """A loss is not ruled out by rows that were not judged: the start is kept, and why is said."""
    _, training = trainer(Pupil(), guardrails={"mute": wg.Guardrail(lambda output, target: (None, ""), 0.5)})
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert not result.accepted
    assert "the start is kept: 'mute' could judge no sealed row (by the target" in str(result)


@pytest.mark.parametrize(("margin", "accepted"), [(0.0, False), (0.9, True)])
def test_a_guardrail_stops_what_breaks_it(margin: float, accepted: bool) -> None:
    """A hard constraint that the better text breaks keeps the start; a loss that would be borne does not."""

    def quiet(output: str, target: str) -> float:
        return 0.8 if output.isupper() else 1.0

    prompt, training = trainer(Pupil(), guardrails={"quiet": wg.Guardrail(quiet, margin)})
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert (prompt.value == BETTER, result.accepted) == (accepted, accepted)


def test_a_race_drops_what_breaks_a_hard_constraint() -> None:
    """Of two candidates the worse one wins, as the better one breaks the constraint."""
    drawn = iter(["Say it in CAPITALS, always.", BETTER])

    class Two(Pupil):
        """Shouts with an exclamation mark where it should always shout."""

        def said(self, request: Request) -> Any:
            if request.purpose == "optimize":
                return {"value": next(drawn)}
            said = super().said(request)
            always = request.purpose == "forward" and "always" in request.messages[0].text
            return f"{said}!" if always else said

    def shouts(output: str, target: str) -> float:
        return float(output.isupper() or output.strip("!").isupper())

    def calm(output: str, target: str) -> bool:
        return "!" not in output

    engine = Two()
    plan = wg.Plan(steps=1, batch=4, candidates=2, critic=engine)
    prompt, training = trainer(engine, shouts, guardrails={"calm": wg.Guardrail(calm, 0)}, plan=plan)
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert (prompt.value, result.accepted) == (BETTER, True)


# ---- budgets, interruption, resumption


@pytest.mark.parametrize("calls", [20, 30, 40, 48, 60])
def test_calls_are_never_overshot(calls: int) -> None:
    """Wherever the budget ends the search, the sealed rows still decide within it."""
    engine = Pupil()
    _, training = trainer(engine)
    result = training.fit(TRAIN, VALIDATION, TEST, budget=wg.Budget(calls=calls))

    assert len(engine.history) == result.usage.calls <= calls
    assert result.status in ("done", "budget")
    assert (result.decision is None) == (result.outcome.found == {"prompt": START})


def test_a_run_that_failed_is_resumed(tmp_path: Path) -> None:
    """An outage puts the start's text back; with the same store nothing is paid twice."""

    class Failing(Pupil):
        """Down from the thirtieth call on."""

        def said(self, request: Request) -> Any:
            down = wg.EngineError("down", retryable=False, status=500)
            return down if len(self.history) >= 30 else super().said(request)

    store = tmp_path / "runs.db"
    prompt, training = trainer(Failing())
    with pytest.raises(wg.EngineError, match="down"):
        training.fit(TRAIN, VALIDATION, TEST, store=store, seed=3)
    put_back = prompt.value
    ((run, answered),) = rows(store, "SELECT run, count(*) FROM attempts WHERE state = 'done' GROUP BY run")
    engine = Pupil()
    prompt, training = trainer(engine)
    result = training.fit(TRAIN, VALIDATION, TEST, store=store, resume=run)
    _, calm = trainer(Pupil())
    whole = calm.fit(TRAIN, VALIDATION, TEST, seed=3)

    assert (put_back, prompt.value, result.run) == (START, BETTER, run)
    assert (result.decision, result.record.steps) == (whole.decision, whole.record.steps)
    assert len(engine.history) == whole.usage.calls - answered


class Once(Pupil):
    """Down once, when it is asked this word."""

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word: str | None = word

    def said(self, request: Request) -> Any:
        if request.messages[-1].text == self.word:
            self.word = None
            return wg.EngineError("down", retryable=False, status=500)
        return super().said(request)


def fitted(engine: RuleEngine, store: Path | None = None, **options: Any) -> wg.Result:
    """A run of a fresh trainer; with a `store`, the one that failed there is gone on with."""
    _, training = trainer(engine)
    if store is None:
        return training.fit(TRAIN, VALIDATION, TEST, **options)
    with pytest.raises(wg.EngineError, match="down"):
        training.fit(TRAIN, VALIDATION, TEST, store=store, **options)
    ((run,),) = rows(store, "SELECT id FROM runs")
    return training.fit(TRAIN, VALIDATION, TEST, store=store, resume=run)


@pytest.mark.parametrize("calls", [30, 45, 52, 60, 100])
def test_a_start_that_was_interrupted_holds_back_as_much(tmp_path: Path, calls: int) -> None:
    """What the end needs is known from the first test row on, so the resumed run ends as one without the outage."""
    calm = fitted(Pupil(), budget=wg.Budget(calls=calls - 1))
    resumed = fitted(Once("test4"), tmp_path / "runs.db", budget=wg.Budget(calls=calls))

    # The call that failed was made, and counts.
    assert (resumed.status, resumed.accepted) == (calm.status, calm.accepted)
    assert resumed.usage.calls <= calls


def test_a_resumed_run_has_its_limits_still(tmp_path: Path) -> None:
    """Where none are given: going on after an outage does not mean to spend without end."""
    result = fitted(Once("test4"), tmp_path / "runs.db", budget=wg.Budget(calls=20))

    assert (result.status, result.usage.calls <= 20) == ("budget", True)


def test_resuming_needs_the_same_variables(tmp_path: Path) -> None:
    """Another program's run is refused, with both names; so is one without a store."""
    store = tmp_path / "runs.db"
    _, training = trainer(Pupil())
    run = training.fit(TRAIN, VALIDATION, store=store).run
    other = wg.Trainer(Chain(Pupil()), same, input="word", target="shout", plan=wg.Plan(critic=Pupil()))

    with pytest.raises(wg.UsageError, match=f"run {run} began with prompt, and the program has first, prompt"):
        other.fit(TRAIN, VALIDATION, store=store, resume=run)
    with pytest.raises(wg.UsageError, match=f"resume='{run}' needs the store="):
        training.fit(TRAIN, VALIDATION, resume=run)


@pytest.mark.parametrize(
    "changed",
    [
        {"acceptance": wg.Acceptance(alpha=0.2)},
        {"acceptance": wg.Acceptance(rule="lenient")},
        {"guardrails": {}},
        {"guardrails": {"calm": wg.Guardrail(lambda output, _: not output.isupper(), margin=0.5)}},
    ],
)
def test_a_resumed_run_decides_as_it_did(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Another alpha or rule, or guardrails that were dropped, would be a second look at the sealed rows: refused."""
    store, calm = tmp_path / "runs.db", {"calm": wg.Guardrail(lambda output, _: not output.isupper(), margin=0.1)}
    _, training = trainer(Pupil(), guardrails=calm)
    result = training.fit(TRAIN, VALIDATION, TEST, store=store)
    prompt, other = trainer(Pupil(), **{"guardrails": calm, **changed})

    with pytest.raises(wg.UsageError, match="would be a second look at its sealed rows"):
        other.fit(TRAIN, VALIDATION, TEST, store=store, resume=result.run)
    assert (result.accepted, prompt.value) == (False, START)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_run_goes_on_with_its_own_rows(tmp_path: Path, split: str) -> None:
    """With one more, what an ended run found would get another report, though nothing else is asked."""
    store = tmp_path / "runs.db"
    _, training = trainer(Pupil())
    result = training.fit(TRAIN, VALIDATION, TEST, store=store)
    data = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    data[split] = [*data[split], {"word": "more", "shout": "MORE"}]

    with pytest.raises(wg.StoreError, match=f"the {split} rows are not those that it began with"):
        trainer(Pupil())[1].fit(**data, store=store, resume=result.run)
    with Database(store) as database:
        assert find(database, result.run).status == "done"


def test_a_failed_run_that_is_kept_says_how_to_go_on(tmp_path: Path) -> None:
    """The error has the run's id, which nothing else in code would tell."""
    _, training = trainer(Once("test4"))
    store = tmp_path / "runs.db"
    with pytest.raises(wg.EngineError, match="down") as caught:
        training.fit(TRAIN, VALIDATION, TEST, store=store)
    ((run,),) = rows(store, "SELECT id FROM runs")

    assert caught.value.__notes__ == [f"All is kept. Go on with fit(…, store={str(store)!r}, resume={run!r})."]


def test_what_was_done_before_can_be_had_from_the_cache(tmp_path: Path) -> None:
    """Where the last of three nodes is changed, only its own calls are made again."""
    engine, looked_up = Pupil(), Counter[str]()

    @wg.function
    def look_up(word: str) -> str:
        looked_up[word] += 1
        return word

    def fitted_from(start: str) -> Counter[str]:
        """The calls that it took, by their system prompts, and by the function's name."""
        before = Counter(each.request.messages[0].text for each in engine.history)
        looked_up.clear()
        prompt = wg.Variable(start, "system prompt", requires_grad=True)

        def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
            found = wg.llm_call("Find it.", look_up(example["word"]), engine=engine)
            return wg.llm_call(variables["prompt"], found, engine=engine)

        plan = wg.Plan(steps=1, batch=4, candidates=2, critic=engine)
        training = wg.Trainer(program, same, variables={"prompt": prompt}, plan=plan, input="word", target="shout")
        training.fit(TRAIN, VALIDATION, TEST, store=tmp_path / "runs.db", cache=True)
        asked = Counter(each.request.messages[0].text for each in engine.history) - before
        return asked + Counter({"look_up": looked_up.total()})

    first, again, changed = fitted_from(START), fitted_from(START), fitted_from("Speak it.")

    assert first["look_up"] >= first["Find it."] == first[START] > 0
    assert again == {}
    assert (changed["look_up"], changed["Find it."], changed["Speak it."]) == (0, 0, first[START])


def test_the_results_of_a_random_function_stay_apart_in_the_cache(tmp_path: Path) -> None:
    """The n-th call on the same input has the n-th result; what was called more often than before is called again."""
    draws = iter("abcdef")

    @wg.function
    def draw(_: str) -> str:
        return next(draws)

    def drawn(count: int) -> list[str]:
        with wg.Run(tmp_path / "runs.db", cache=True):
            return [str(draw("?").value) for _ in range(count)]

    assert (drawn(2), drawn(3), drawn(3)) == (["a", "b"], ["a", "b", "c"], ["a", "b", "c"])
    with wg.Run(tmp_path / "runs.db", cache=True) as run:
        first = draw("?").value
    with wg.Run(tmp_path / "runs.db", cache=True, resume=run.id):
        again = [draw("?").value for _ in range(2)]
    assert (first, again) == ("a", ["a", "b"])


def test_a_run_is_derived_once_more_from_its_record(tmp_path: Path) -> None:
    """No engine is asked, the result is the same, and the variables keep their values."""
    store = tmp_path / "runs.db"
    result = trainer(Pupil())[1].fit(TRAIN, VALIDATION, TEST, store=store, seed=3)
    engine = Pupil()
    prompt, training = trainer(engine)
    again = training.replay(TRAIN, VALIDATION, TEST, store=store, run=result.run)

    assert (again.decision, again.values, again.usage.calls) == (result.decision, result.values, result.usage.calls)
    assert (engine.history, prompt.value) == ((), START)


@pytest.mark.parametrize(
    ("rows_", "options", "words_"),
    [
        ({"test": words("other", 5)}, {}, "the test rows are not those that it began with"),
        ({}, {"plan": wg.Plan(steps=1, batch=4, candidates=2, critic=Pupil())}, "comes out otherwise"),
        ({}, {"metric": lambda output, target: output != target}, "the program changed: .* with another function"),
    ],
    ids=["data", "plan", "metric"],
)
def test_what_was_changed_is_told_by_a_replay(
    tmp_path: Path, rows_: dict[str, Any], options: dict[str, Any], words_: str
) -> None:
    """Other rows, another plan or another metric: an error says what differs, and nothing is asked."""
    store = tmp_path / "runs.db"
    result = trainer(Pupil())[1].fit(TRAIN, VALIDATION, TEST, store=store)
    engine = Pupil()
    _, training = trainer(engine, **options)

    with pytest.raises((wg.StoreError, wg.NodeError), match=words_):
        training.replay(
            **{"train": TRAIN, "validation": VALIDATION, "test": TEST, **rows_}, store=store, run=result.run
        )
    assert engine.history == ()


def test_a_guardrail_that_changed_is_no_second_look(tmp_path: Path) -> None:
    """One that is pure leaves nothing to hold it against but the decision: a resumed run that comes to another is refused."""

    def guarded(judge: Any) -> tuple[wg.Variable, wg.Trainer]:
        return trainer(Pupil(), guardrails={"calm": wg.Guardrail(wg.MetricLoss(judge, pure=True), margin=0.1)})

    store = tmp_path / "runs.db"
    result = guarded(lambda output, _: not output.isupper())[1].fit(TRAIN, VALIDATION, TEST, store=store)
    prompt, other = guarded(lambda output, target: output.islower() or output == target)

    with pytest.raises(wg.StoreError, match="the sealed rows decide otherwise than before"):
        other.fit(TRAIN, VALIDATION, TEST, store=store, resume=result.run)
    assert (result.accepted, prompt.value) == (False, START)


def test_a_run_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A store that is missing is not made, and a run of the command line is not one of fit()."""
    _, training = trainer(Pupil())
    store = tmp_path / "runs.db"
    with pytest.raises(wg.UsageError, match="there is no store at "):
        training.replay(TRAIN, VALIDATION, TEST, store=store, run="20")
    there = store.exists()
    with wg.Run(store) as run:
        pass

    with pytest.raises(wg.UsageError, match=r"was not made by fit\(\): see wordgrad runs resume"):
        training.replay(TRAIN, VALIDATION, TEST, store=store, run=run.id)
    assert not there


# ---- why the start is kept


@pytest.mark.parametrize(
    ("engine", "metric", "why"),
    [
        (Pupil(), lambda _, __: True, "step 2: 4 of 4 rows of the batch pass: nothing to learn from"),
        (Silent(), same, "step 2: 4 of 4 rows of the batch fail, and nothing asks for a change"),
        (
            Pupil(),
            lambda _, __: wg.Score(None, "no idea"),
            "step 2: 0 of 4 rows of the batch pass, and 4 could not be judged: nothing to learn from",
        ),
        (
            Pupil({"value": "Say it slowly."}),
            same,
            (
                "step 2: the one candidate does not lead: 0% on 6 selection rows, the present text 0% on 6); more "
                "steps, candidates or training rows may find one that leads"
            ),
        ),
    ],
    ids=["all pass", "silent", "unjudged", "useless"],
)
def test_nothing_that_led_is_explained(engine: RuleEngine, metric: Any, why: str) -> None:
    """The result has the last race, or why there was none."""
    _, training = trainer(engine, metric)
    result = training.fit(TRAIN, VALIDATION, TEST)

    assert f"the start is kept: nothing led it in the search ({why}" in str(result)


# ---- async


def test_afit_finds_the_same() -> None:
    """In async code; the observer is told in the training's thread."""
    phases: list[tuple[str, int]] = []

    def told(event: Event) -> None:
        if isinstance(event, Phase):
            phases.append((event.name, threading.get_ident()))

    prompt, training = trainer(Pupil())

    async def main() -> wg.Result:
        with anyio.fail_after(LIMIT_S):
            return await training.afit(TRAIN, VALIDATION, TEST, observer=told)

    result = anyio.run(main)

    assert (prompt.value, result.accepted) == (BETTER, True)
    assert phases[0][0] == "asking each engine once"
    assert threading.get_ident() not in {thread for _, thread in phases}


def test_afit_raises_what_fit_raises() -> None:
    """As it is, and in no group."""
    _, training = trainer(Pupil())

    async def main() -> None:
        with pytest.raises(wg.UsageError, match="no column 'shout'"):
            await training.afit([{"word": "a"}], VALIDATION)
        with pytest.raises(wg.BudgetExceeded):
            await training.afit(TRAIN, VALIDATION, TEST, budget=wg.Budget(calls=2))

    anyio.run(main)


def test_an_observer_of_afit_can_reach_the_loop() -> None:
    """As from any worker thread of anyio: to show progress in an async application."""
    seen: list[str] = []

    async def show(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(name)

    def told(event: Event) -> None:
        if isinstance(event, Phase):
            anyio.from_thread.run(show, event.name)

    _, training = trainer(Pupil())
    anyio.run(partial(training.afit, TRAIN, VALIDATION, TEST, observer=told))

    assert seen[0] == "asking each engine once"


def test_a_late_cancellation_puts_the_start_back() -> None:
    """The last row is scored, and the report is being made: who cancelled does not want the new text either."""
    scored, go_on = threading.Event(), threading.Event()

    def told(event: Event) -> None:
        if isinstance(event, Phase):
            phases.append(event.name)
        if isinstance(event, Advance) and "test" in phases[-1] and event.done == len(TEST) and len(phases) > 2:
            scored.set()
            go_on.wait(LIMIT_S)

    phases: list[str] = []
    prompt, training = trainer(Pupil())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(training.afit, TRAIN, VALIDATION, TEST, observer=told))
            await anyio.to_thread.run_sync(scored.wait, LIMIT_S)
            group.cancel_scope.cancel()
            go_on.set()

    anyio.run(main)

    assert "new text on the sealed test rows" in phases[-1]
    assert prompt.value == START


def test_an_afit_that_never_began_changes_nothing() -> None:
    """It was cancelled before its thread had a place."""
    engine = Pupil()
    prompt, training = trainer(engine)

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await training.afit(TRAIN, VALIDATION, TEST)

    anyio.run(main)

    assert (prompt.value, engine.history) == (START, ())


class Paused(Pupil):
    """Waits in its first step until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def said(self, request: Request) -> Any:
        if request.purpose == "backward":
            self.begun.set()
            self.go_on.wait(LIMIT_S)
        return super().said(request)


def test_an_afit_that_plain_asyncio_cancels_is_waited_for() -> None:
    """Again and again, as an impatient user does: what is written afterwards stays."""
    import asyncio  # noqa: TID251 - a task of the user's own

    engine = Paused()
    prompt, training = trainer(engine)

    async def main() -> bool:
        task = asyncio.create_task(training.afit(TRAIN, VALIDATION, TEST))
        await anyio.to_thread.run_sync(engine.begun.wait, LIMIT_S)
        for _ in range(3):
            task.cancel()
            await anyio.sleep(0.01)
        waiting = not task.done()
        engine.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        prompt.value = "mine"
        return waiting

    assert anyio.run(main)
    assert prompt.value == "mine"


def test_a_cancelled_afit_stops_paying(tmp_path: Path) -> None:
    """The calls end, and the start's text is in the variable again."""
    engine, store = Paused(), tmp_path / "runs.db"
    prompt, training = trainer(engine)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(training.afit, TRAIN, VALIDATION, TEST, store=store))
            await anyio.to_thread.run_sync(engine.begun.wait, LIMIT_S)
            group.cancel_scope.cancel()
            engine.go_on.set()

    anyio.run(main)
    prompt.value = "mine"

    assert (rows(store, ENDED), prompt.value) == ([("interrupted",)], "mine")
    assert not any(each.request.purpose == "optimize" for each in engine.history)


# ---- what it says


def test_a_preflight_says_what_there_is_to_gain() -> None:
    """Two looks at rows that the search may see, its first step, and what its rewrites do there; nothing is kept."""
    engine = Pupil()
    _, training = trainer(engine)
    found = training.preflight(TRAIN, VALIDATION, TEST)

    assert (found.checkup.rows, found.checkup.failing, found.checkup.sealed, found.calls) == (6, 6, 6, 27)
    assert 27 < found.prediction.calls <= found.prediction.most_calls
    assert trainer(Pupil())[1].fit(TRAIN, VALIDATION, TEST).usage.calls <= found.prediction.most_calls
    assert found.verdict.startswith("6 of 6 rows fail both times: there is something to learn")
    asked = [each.prompt for each in engine.history if each.request.purpose == "forward"]
    looks, rehearsal = ([each for each in asked if each.startswith(split)] for split in ("held", "train"))
    assert (len(looks), len(set(looks))) == (12, 6)
    assert (len(rehearsal), len(set(rehearsal))) == (8, 4)
    assert len(asked) == 20


def test_a_preflight_leaves_no_trace() -> None:
    """A training after it finds the same, by the same calls, as one without it."""
    prompt, training = trainer(after := Pupil())
    training.preflight(TRAIN, VALIDATION, TEST)
    assert (prompt.value, prompt.gradients) == (START, ())
    before = len(after.history)
    found = training.fit(TRAIN, VALIDATION, TEST)
    alone = trainer(Pupil())[1].fit(TRAIN, VALIDATION, TEST)

    assert found.usage.calls == alone.usage.calls == len(after.history) - before
    assert (found.values, found.outcome.search.steps) == (alone.values, alone.outcome.search.steps)


def test_a_preflight_shows_what_the_first_step_would_do() -> None:
    """Feedback on each variable, the rewrites, and how many rows they set right."""
    found = trainer(Pupil())[1].preflight(TRAIN, VALIDATION, TEST).rehearsal

    assert (found.rows, found.failing, len(found.feedback["prompt"]), len(found.proposals)) == (4, 4, 4, 2)
    assert [each.values for each in found.candidates] == [{"prompt": BETTER}]
    assert found.effects == [(4, 4, 0, 0)]


TEXTS = [BETTER, "Say it in CAPITALS and LOUD."]


class Loud(Pupil):
    """Its second rewrite shouts with an exclamation mark."""

    def said(self, request: Request) -> Any:
        if request.purpose == "optimize":
            return {"value": TEXTS[request.sample[-1] % 2]}
        said = super().said(request)
        return f"{said}!" if request.purpose == "forward" and "LOUD" in request.messages[0].text else said


def lower(output: str, target: str) -> float:
    """Fewer errors are better."""
    return 0.0 if output.strip("!") == target else 5.0


def calm(output: str, target: str) -> bool:
    """No exclamation mark."""
    return "!" not in output


@pytest.mark.parametrize(
    ("metric", "options", "tried"),
    [
        (same, {}, [(4, 4, 0, 0), (0, 4, 0, 0)]),
        (wg.MetricLoss(lower, bounds=(0, 5), higher_is_better=False), {}, [(4, 4, 0, 0), (4, 4, 0, 0)]),
        (
            wg.MetricLoss(lower, bounds=(0, 5), higher_is_better=False),
            {"guardrails": {"calm": wg.Guardrail(calm, 0)}},
            [(4, 4, 0, 0), (0, 4, 0, 0)],
        ),
    ],
    ids=["more is better", "less is better", "hard constraint"],
)
def test_rewrites_are_tried_as_in_a_race(metric: Any, options: dict[str, Any], tried: list[tuple[int, ...]]) -> None:
    """Towards the good end, and not past a hard constraint."""
    found = trainer(Loud(), metric, **options)[1].preflight(TRAIN, VALIDATION, TEST).rehearsal

    texts = [each.values["prompt"] for each in found.candidates]
    assert dict(zip(texts, found.effects, strict=True)) == dict(zip(TEXTS, tried, strict=True))


def test_a_rewrite_that_breaks_rows_is_seen() -> None:
    """Rows that passed and score lower under it are counted apart from those that failed."""
    engine = Pupil({"value": "Say nothing."})
    train = [*words("train", 2), *({"word": word, "shout": word} for word in ("ok", "so"))]
    _, training = trainer(engine)
    found = training.preflight(train, VALIDATION, TEST).rehearsal
    assert (found.failing, found.effects) == (2, [(0, 2, 0, 2)])

    found = trainer(Pupil())[1].preflight(train, VALIDATION, TEST).rehearsal
    assert (found.failing, found.effects) == (2, [(2, 2, 2, 2)])


def test_rewrites_are_compared_in_pairs_where_a_race_would() -> None:
    """By the judge that is shown both answers; each is asked for once."""
    engine = Judging()
    plan = wg.Plan(steps=1, batch=4, candidates=1, critic=engine)
    _, training = trainer(engine, wg.JudgeLoss("Louder is better.", engine), plan=plan, target=None)
    splits = [[{"word": row["word"]} for row in split] for split in (words("held", 20)[12:], VALIDATION, TEST)]
    found = training.preflight(*splits)

    assert found.rehearsal.effects == [(4, 4, 0, 0)]
    asked = [each.prompt for each in engine.history if each.request.purpose == "forward"]
    assert len(asked) == 2 * 6 + 4 + 4


def test_a_failed_rehearsal_leaves_no_feedback() -> None:
    """Where the rewriter cannot be reached, the variables are as they were."""

    class Down(Pupil):
        """Has no rewriter."""

        def said(self, request: Request) -> Any:
            down = wg.EngineError("no such model", retryable=False, status=404)
            return down if request.purpose == "optimize" else super().said(request)

    prompt, training = trainer(Down())
    with pytest.raises(wg.EngineError, match="no such model"):
        training.preflight(TRAIN, VALIDATION, TEST)

    assert (prompt.value, prompt.gradients) == (START, ())


def test_a_look_at_no_row_is_a_mistake() -> None:
    """Nothing is asked then."""
    engine = Pupil()
    with pytest.raises(wg.UsageError, match="rows=0: a look needs one row or more"):
        trainer(engine)[1].preflight(TRAIN, VALIDATION, TEST, rows=0)
    assert not engine.history


@pytest.mark.parametrize("steps", [1, 2])
def test_past_steps_are_expected_to_be_read(steps: int) -> None:
    """With momentum a rewriter is shown earlier steps, of which the first one and the rehearsal have none."""
    said = []
    for momentum in (0, 2):
        engine = Pupil()
        plan = wg.Plan(steps=steps, batch=4, candidates=2, critic=engine, momentum=momentum)
        said.append(trainer(engine, plan=plan)[1].preflight(TRAIN, VALIDATION, TEST).prediction)

    assert said[0].calls == said[1].calls
    assert (said[0].tokens < said[1].tokens) == (steps > 1)


def test_a_preflight_finds_a_program_that_leaves_its_variables_out() -> None:
    """The error is the one that a training would end with."""
    prompt = wg.Variable(START, "system prompt", requires_grad=True)
    training = wg.Trainer(
        lambda _, row: wg.Variable(row["word"], "an answer"),
        same,
        variables={"prompt": prompt},
        input="word",
        target="shout",
        plan=wg.Plan(critic=Pupil()),
    )
    with pytest.raises(wg.GraphError):
        training.preflight(TRAIN, VALIDATION)


def test_a_report_has_what_was_found(tmp_path: Path) -> None:
    """Markdown and one page of HTML: the decision, each step's change with its feedback, and what it took."""
    _, training = trainer(Pupil({"value": "CAPITALS <script>alert(1)</script> \x1b[2J"}))
    result = training.fit(TRAIN, VALIDATION, TEST)
    result.save(tmp_path / "report")
    markdown, page = ((tmp_path / "report" / f"report.{form}").read_text("utf-8") for form in ("md", "html"))

    for text in (markdown, page):
        assert "6 sealed validation rows: better on 6, worse on 0" in text
        assert "Be exact." in text
        assert "\x1b" not in text
    assert "<script" not in page
    assert "<ins>CAPITALS &lt;script&gt;" in page
    assert page.count("<svg") == 3
    assert page.count("<circle") == 2  # the text that leads, and open the one before
    assert re.search(r"<td>sealed validation</td><td>6</td><td>0.0%</td><td>100.0%</td><td>\+100.0 points</td>", page)
    assert "| forward | reply of the model | fake | 42 |" in markdown
    assert "<td>optimize</td><td>prompt</td><td>fake</td><td>2</td>" in page
    assert {each.purpose: each.calls for each in result.record.spent} == {
        "preflight": 1,
        "forward": 42,
        "backward": 4,
        "optimize": 2,
    }
    assert sum(each.calls for each in result.record.spent) == result.usage.calls


def test_feedback_stands_at_the_change_that_it_asked_for(tmp_path: Path) -> None:
    """Both are marked with its number."""

    class Careful(Pupil):
        """Its critics ask for what its rewrites say."""

        def said(self, request: Request) -> Any:
            return verdicts(request, P1="Use CAPITALS.") if request.purpose == "backward" else super().said(request)

    _, training = trainer(Careful())
    training.fit(TRAIN, VALIDATION).save(tmp_path)
    markdown, page = ((tmp_path / f"report.{form}").read_text("utf-8") for form in ("md", "html"))

    assert "Say it{+ in CAPITALS+}¹." in markdown
    assert "Change 1:\n• Use CAPITALS.\n" in markdown
    assert "<pre>Say it<ins> in CAPITALS</ins><sup>1</sup>." in page
    assert "<p>Change 1:</p>\n<ul><li>Use CAPITALS.</li></ul>" in page


def test_totals_are_by_node_and_purpose() -> None:
    """Each call of a chain, each critic, each judge and each text that is rewritten has its own."""

    class Chain(Pupil):
        """Judges too."""

        def said(self, request: Request) -> Any:
            return {"critique": "Fine.", "score": 1.0} if request.purpose == "judge" else super().said(request)

    engine = Chain()
    prompt = wg.Variable(START, "system prompt", requires_grad=True)

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        draft = wg.llm_call("Repeat.", example["word"], engine=engine, role_description="draft")
        return wg.llm_call(variables["prompt"], draft, engine=engine, role_description="answer")

    polite = wg.Guardrail(wg.JudgeLoss("Be polite.", engine), margin=0.9)
    plan = wg.Plan(steps=1, batch=4, candidates=2, critic=engine)
    training = wg.Trainer(
        program,
        same,
        variables={"prompt": prompt},
        plan=plan,
        input="word",
        target="shout",
        guardrails={"tone": polite},
    )
    spent = training.fit(TRAIN, VALIDATION).record.spent

    assert [(each.purpose, each.node) for each in spent] == [
        ("preflight", ""),
        ("forward", "draft"),
        ("forward", "answer"),
        ("judge", "judgement by tone"),
        ("backward", "answer"),
        ("optimize", "prompt"),
    ]
    assert spent[1].calls < spent[2].calls


def test_a_report_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "report").write_text("")
    _, training = trainer(Pupil())
    result = training.fit(TRAIN, VALIDATION)

    with pytest.raises(wg.UsageError, match=r"report.* cannot be written"):
        result.save(tmp_path / "report")


def test_a_metric_that_misjudges_a_known_output_ends_it_before_anything_is_paid() -> None:
    """Nothing but the engine's first call was made."""
    engine = Pupil()
    _, training = trainer(engine, known=[wg.Known(output="yes", target="YES", passes=True)])

    with pytest.raises(
        wg.UsageError, match="known: of number 1, 'yes', the metric gives 0, which fails it, and it is kn"
    ):
        training.fit(TRAIN, VALIDATION)
    assert [each.request.purpose for each in engine.history] == ["preflight"]


# ---- what cannot work


@pytest.mark.parametrize(
    ("change", "words_"),
    [
        ({"validation": [*VALIDATION, TRAIN[0]]}, "repeats"),
        ({"validation": VALIDATION[:8]}, "at alpha = 0.05 fewer than 5 can prove nothing: give at least 10 validation"),
        ({"train": [{"word": "a"}]}, "shout"),
        ({"train": []}, "there are no examples"),
        ({"validation": None, "test": TEST}, "there are test examples and none for validation"),
    ],
)
def test_examples_that_cannot_work_are_told(change: Mapping[str, Any], words_: str) -> None:
    """Before anything is asked: rows in two splits, too few of them, a column that is missing, none at all."""
    engine = Pupil()
    _, training = trainer(engine)
    given: dict[str, Any] = {"train": TRAIN, "validation": VALIDATION, **change}

    with pytest.raises(wg.UsageError, match=words_):
        training.fit(**given)
    assert engine.history == ()


def test_programs_and_metrics_that_cannot_work_are_told() -> None:
    """A function without variables, one that is frozen, a thing that is no program, a loss without a score."""
    _, program = shout(Pupil())
    engine = Pupil()

    with pytest.raises(
        wg.UsageError, match=r"program is a function of .variables, row.: name its variables in variables="
    ):
        wg.Trainer(program, same)
    with pytest.raises(wg.UsageError, match="variables='prompt' is a str: give a Variable that requires a gradient"):
        wg.Trainer(program, same, variables={"prompt": START})  # type: ignore[dict-item]
    with pytest.raises(wg.UsageError, match="variables='prompt' does not require a gradient, and is not rewritten"):
        wg.Trainer(program, same, variables={"prompt": wg.Variable(START, "system prompt")})
    with pytest.raises(wg.UsageError, match="str is a str: name a Module, or a function"):
        wg.Trainer("nothing", same)  # type: ignore[arg-type]
    with pytest.raises(wg.UsageError, match="metric is a TextLoss, which has no score: use JudgeLoss"):
        wg.Trainer(Chain(engine), wg.TextLoss("Judge.", engine))
    with pytest.raises(wg.UsageError, match=r"metric is a PairwiseLoss, .*: give a JudgeLoss, and target=None"):
        wg.Trainer(Chain(engine), wg.PairwiseLoss("Judge.", engine))


@pytest.mark.parametrize(
    ("options", "words_"),
    [
        ({"plan": {"steps": 2}}, "plan={'steps': 2}: give a Plan, as in wg.Plan(steps=3)"),
        (
            {"acceptance": "lenient"},
            """acceptance='lenient': give an Acceptance, as in wg.Acceptance(rule="lenient")""",
        ),
        ({"guardrails": [same]}, 'give a dict, as in {"short": …}, of guardrails as in wg.Guardrail(fn, margin=0.05)'),
        ({"guardrails": {"s": same}}, "give a Guardrail, as in wg.Guardrail(fn, margin=0.05)"),
        ({"guardrails": {"s": wg.MetricLoss(same)}}, "give a Guardrail, as in wg.Guardrail(fn, margin=0.05)"),
        ({"known": wg.Known(output="A", passes=True)}, "give a list, as in [wg.Known(output=…, passes=True)]"),
        (
            {"known": [{"output": "A", "passes": True}]},
            "known[0]={'output': 'A', 'passes': True}: give a Known, as in wg.Known(output=…, passes=True)",
        ),
    ],
)
def test_a_trainer_needs_what_it_names(options: dict[str, Any], words_: str) -> None:
    """What was given in place of a plan, a rule, a guardrail or a known output is shown, and what to write."""
    with pytest.raises(wg.UsageError, match=re.escape(words_)) as caught:
        trainer(Pupil(), **options)
    (name,) = options
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("method", "options", "words_"),
    [
        ("fit", {"budget": 500}, "budget=500: give a Budget, as in wg.Budget(calls=500)"),
        ("fit", {"resume": 5}, "resume=5: give the id of a run"),
        ("preflight", {"rows": "3"}, "rows='3': give a whole number, or None for all"),
        ("preflight", {"rows": 1.5}, "rows=1.5: give a whole number, or None for all"),
        ("preflight", {"rows": True}, "rows=True: give a whole number, or None for all"),
        ("replay", {"run": 5, "store": "runs.db"}, "run=5: give the id of a run"),
    ],
)
def test_arguments_of_another_kind_are_told(method: str, options: dict[str, Any], words_: str) -> None:
    """Before anything is asked."""
    engine = Pupil()
    _, training = trainer(engine)

    with pytest.raises(wg.UsageError, match=re.escape(words_)):
        getattr(training, method)(TRAIN, VALIDATION, **options)
    assert engine.history == ()


@pytest.mark.parametrize(
    ("options", "words_"),
    [
        ({"steps": 0}, "steps=0: a plan needs a whole number, 1 or more"),
        ({"steps": 1.5}, "steps=1.5: a plan needs a whole number, 1 or more"),
        ({"batch": "8"}, "batch='8': a plan needs a whole number, 1 or more"),
        ({"candidates": True}, "candidates=True: a plan needs a whole number, 1 or more"),
        ({"momentum": -1}, "momentum=-1: a plan needs a whole number, 0 or more"),
        ({"compressions": float("nan")}, "compressions=nan: a plan needs a whole number, 0 or more"),
        ({"strategy": "fused"}, "strategy='fused' is no strategy: give wg.per_node, wg.per_edge or wg.fused"),
        ({"strategy": type(wg.fused)}, "is no strategy: give wg.per_node, wg.per_edge or wg.fused, or an object with"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict[str, Any], words_: str) -> None:
    """When it is made, not after the first calls."""
    with pytest.raises(wg.UsageError, match=re.escape(words_)):
        wg.Plan(**options)


@pytest.mark.parametrize("margin", ["a", None, float("nan"), -1, 1.0])
def test_a_guardrail_whose_margin_cannot_be_is_refused(margin: Any) -> None:
    """It is a part of the metric's width."""
    with pytest.raises(wg.UsageError, match=f"margin={margin!r} of a guardrail must be a number, at least 0 and less"):
        wg.Guardrail(same, margin=margin)


def test_a_result_is_plain(tmp_path: Path) -> None:
    """What is kept of the run is JSON."""
    _, training = trainer(Pupil())
    result = training.fit(TRAIN, VALIDATION, TEST, store=tmp_path / "runs.db")

    assert json.loads(json.dumps(result.record.run.report))["accepted"] is True
