"""What replaces the start: one text, which sealed rows that nothing else has seen find to be better."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pytest

import wordgrad as wg
from project import BETTER, START, Half, Project, Pupil, Slow, breaking, own_modules, project
from wordgrad.statistics.pairs import Pairs, paired
from wordgrad.testing import Reply, RuleEngine
from wordgrad.train.accept import Acceptance, Decision, Guarded, Rule, decide, often
from wordgrad.train.events import Step
from wordgrad.types import Price, Request

__all__ = ["own_modules", "project"]

RULES: list[Rule] = ["strict", "lenient"]


def counted(better: int, worse: int, alike: int = 0, unjudged: int = 0) -> Pairs:
    """Binary scores with so many rows better, worse, alike and without a score."""
    start = [0] * better + [1] * worse + [1] * alike + [1] * unjudged
    candidate = [1] * better + [0] * worse + [1] * alike + [None] * unjudged
    return paired(start, candidate)


def decided(pairs: Pairs, guardrails: Mapping[str, Guarded] | None = None, **acceptance: Any) -> Decision:
    """The decision on scores."""
    return decide(pairs, guardrails or {}, acceptance=Acceptance(**acceptance), rng=random.Random(0))


# ---- the decision


def test_graded_rows_say_how_many_more_would_decide() -> None:
    """As the rows of a metric that only passes or fails do."""
    start = [0.5] * 40
    candidate = [0.5 + (0.1 + place / 100 if place % 2 else -0.1) for place in range(24)] + [0.5] * 16
    decision = decided(paired(start, candidate))

    assert not decision.proved
    assert decision.needed is not None
    assert f"{decision.needed} more rows on which the two disagree would likely decide" in decision.words


def test_what_is_proved_is_accepted() -> None:
    """Five rows of five are better: once in 32 runs by chance, which is rare enough under either rule."""
    strict, lenient = (decided(counted(5, 0, 3), rule=rule) for rule in RULES)

    assert (strict.accepted, strict.proved, strict.needed, strict.claim.p) == (True, True, None, 1 / 32)
    assert (lenient.accepted, lenient.proved) == (True, True)


def test_what_is_not_proved_keeps_the_start() -> None:
    """Four rows of four come about by chance once in 16 runs; the decision says how likely they are no chance."""
    found = decided(counted(4, 0))

    assert (found.accepted, found.proved, found.chance, found.needed) == (False, False, 31 / 32, 13)


def test_alpha_says_what_is_proof() -> None:
    """What is proof at one false claim in twenty is none at one in a hundred, and the other way round."""
    five, four = counted(5, 0), counted(4, 0)

    assert [decided(five, alpha=alpha).proved for alpha in (0.05, 0.01)] == [True, False]
    assert [decided(four, alpha=alpha).proved for alpha in (0.05, 0.1)] == [False, True]


def test_lenient_takes_what_is_likely_better() -> None:
    """Three rows better and two worse are no proof: taken under the lenient rule only, and called unproved."""
    strict, lenient = (decided(counted(3, 2), rule=rule) for rule in RULES)

    assert (strict.accepted, lenient.accepted, lenient.proved) == (False, True, False)
    assert lenient.chance == strict.chance > 0.5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pairs", [counted(2, 3), counted(2, 2, 4), counted(0, 0, 6), counted(0, 0, 0, 6)])
def test_what_is_as_likely_worse_keeps_the_start(rule: Rule, pairs: Pairs) -> None:
    """More rows worse, as many, none that differs, or none that could be judged: no rule takes that."""
    found = decided(pairs, rule=rule)

    assert (found.accepted, found.proved, found.needed, found.chance > 0.5) == (False, False, None, False)


@pytest.mark.parametrize("rule", RULES)
def test_a_hard_constraint_holds_on_every_row(rule: Rule) -> None:
    """One sealed row that breaks it keeps the start, however much better the target is."""
    kept, broken = (
        decided(counted(60, 0), {"brief": Guarded(pairs=counted(0, 0, 60), margin=0, broken=rows)}, rule=rule)
        for rows in (0, 1)
    )

    assert (kept.accepted, kept.broken, broken.accepted, broken.broken) == (True, (), False, ("brief",))
    assert (broken.proved, broken.claim.proved) == (False, True)


def test_a_guardrail_must_be_shown_to_hold() -> None:
    """Forty rows without a loss rule out one of ten points; six rule out none, and a text that lost ten points is out."""
    sixty = counted(60, 0)
    kept = [
        decided(sixty, {"polite": Guarded(pairs=pairs, margin=0.1)}).accepted
        for pairs in (counted(0, 0, 40), counted(0, 0, 6), counted(0, 4, 36))
    ]

    assert kept == [True, False, False]


def test_a_lenient_guardrail_goes_by_what_is_seen() -> None:
    """Too few rows to rule a loss out let a text pass that has not lost so much on them, and no other."""
    sixty = counted(60, 0)
    kept = [
        decided(sixty, {"polite": Guarded(pairs=pairs, margin=0.1)}, rule="lenient").accepted
        for pairs in (counted(0, 0, 6), counted(0, 3, 37), counted(0, 4, 36), counted(0, 6, 34))
    ]

    assert kept == [True, True, False, False]


def test_every_guardrail_must_hold() -> None:
    """One that is broken is enough, and each that is broken is named."""
    holds, broken = Guarded(pairs=counted(0, 0, 40), margin=0.1), Guarded(pairs=counted(0, 9, 31), margin=0.1)
    found = decided(counted(60, 0), {"a": broken, "b": holds, "c": Guarded(pairs=counted(0, 0), margin=0, broken=2)})

    assert (found.accepted, found.broken) == (False, ("a", "c"))
    assert [each.broken for each in found.guardrails.values()] == [0, 0, 2]


def test_graded_scores_decide_too() -> None:
    """A small gain on every row is proof; how many more rows would decide is said where all differ by as much."""
    better, alike = paired([0.5] * 8, [0.6] * 8), paired([0.5] * 8, [0.6] * 5 + [0.4] * 3)
    mixed = paired([0.5] * 8, [0.6] * 5 + [0.2] * 3)

    assert [decided(each).accepted for each in (better, alike, mixed)] == [True, False, False]
    assert (decided(alike).needed, decided(mixed).needed) == (decided(counted(5, 3)).needed, None)


@pytest.mark.parametrize(("lost", "gained", "accepted"), [(4, 0, True), (5, 0, False), (35, 0, False), (9, 8, True)])
def test_a_text_gains_nothing_by_what_cannot_be_judged(lost: int, gained: int, accepted: bool) -> None:
    """Where clearly more rows than the start's cannot be judged under the new text, it is not known to be better."""
    start = [0.0] * 5 + [1.0] * lost + [None] * gained
    candidate = [1.0] * 5 + [None] * lost + [1.0] * gained
    found = decided(paired(start, candidate))

    assert (found.accepted, found.proved, found.unjudged) == (accepted, accepted, 0 if accepted else lost)
    assert found.claim.proved
    assert (
        f"{lost} sealed rows could be judged under the start, and not under the new text" in found.words
    ) != accepted


def test_a_pair_that_could_not_be_compared_speaks_against_neither() -> None:
    """A judge of pairs that cannot be read has judged neither text."""
    pairs = paired([0.5] * 200, [None] * 5 + [1.0] * 195)
    answered = paired([1.0] * 200, [1.0] * 200)
    found = decide(pairs, {}, acceptance=Acceptance(), rng=random.Random(0), answered=answered)

    assert (found.accepted, found.claim.excluded) == (True, 5)


def test_a_guardrail_that_cannot_judge_the_new_text_is_not_kept() -> None:
    """An answer that it cannot read may be the very one that it is there for."""
    pairs = paired([1.0] * 40, [1.0] * 20 + [None] * 20)
    found = decided(counted(40, 0), {"polite": Guarded(pairs=pairs, margin=0.5)})

    assert (found.accepted, found.guardrails["polite"].unjudged) == (False, 20)
    assert "'polite' could judge the start on 20 sealed rows where it could not judge the new text" in found.words


@pytest.mark.parametrize(
    ("pairs", "options", "words"),
    [
        (
            counted(6, 0),
            {},
            (
                "the new text is better (6 sealed validation rows: better on 6, worse on 0). Were it no better, chance would "
                "do as well once in 64 runs"
            ),
        ),
        (
            counted(30, 2, 8, 3),
            {},
            (
                "the new text is better (40 sealed validation rows: better on 30, worse on 2, 3 not judged). Were it no "
                "better, chance would do as well less than once in 10,000 runs"
            ),
        ),
        (
            counted(4, 0),
            {"rule": "lenient"},
            (
                "the new text is taken, unproved (4 sealed validation rows: better on 4, worse on 0): better with a "
                "probability of 97%; 13 more rows on which the two disagree would likely decide"
            ),
        ),
        (
            counted(4, 0, 6),
            {},
            (
                "the start is kept: the best new text is not proved to be better (10 sealed validation rows: better on 4, "
                "worse on 0). It is better with a probability of 97%; 13 more rows on which the two disagree would likely "
                "decide"
            ),
        ),
        (
            counted(1, 3),
            {"rule": "lenient"},
            (
                "the start is kept: the best new text is not proved to be better (4 sealed validation rows: better on 1, "
                "worse on 3). It is better with a probability of 19%"
            ),
        ),
        (
            paired([None] * 6, [None] * 6),
            {},
            (
                "the start is kept: the best new text is not proved to be better (0 sealed validation rows: better on 0, "
                "worse on 0, 6 not judged). It is better with a probability of 50%"
            ),
        ),
    ],
)
def test_a_decision_says_why(pairs: Pairs, options: dict[str, Any], words: str) -> None:
    """The rows that were counted, and how sure that makes it, for people who know no statistics."""
    assert decided(pairs, **options).words == words


def test_a_broken_guardrail_says_what_it_broke() -> None:
    """The rows of a hard constraint, the loss of another, and that the target did not decide."""
    guardrails = {
        "brief": Guarded(pairs=counted(0, 2, 38), margin=0, broken=2),
        "polite": Guarded(pairs=counted(0, 10, 30), margin=0.1),
    }

    assert decided(counted(6, 0), guardrails).words == (
        "the start is kept: the new text breaks 'brief' on 2 sealed rows; 'polite' may have become worse: -0.25, and no "
        "less than -0.442 is certain, where -0.1 would be borne: more validation rows would tell (by the target, 6 "
        "sealed validation rows: better on 6, worse on 0)"
    )


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (1.0, "do as well in 100% of runs"),
        (0.101, "do as well in 10% of runs"),
        (0.1, "do as well once in 10 runs"),
        (1 / 64, "do as well once in 64 runs"),
        (1 / 9_999, "do as well once in 9,999 runs"),
        (1 / 10_001, "do as well less than once in 10,000 runs"),
        (0.0, "do as well less than once in 10,000 runs"),
    ],
)
def test_rare_chances_are_said_in_runs(p: float, words: str) -> None:
    """A share where it is common, one run in so many where it is rare, and no more digits than anybody needs."""
    assert often(p) == words


# ---- enough rows


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.1, 0.05, 0.03, 1 / 32, 0.02, 0.01, 0.005, 0.001, 1e-6])
def test_the_rows_that_are_asked_for_are_the_fewest_that_prove(alpha: float) -> None:
    """With so many sealed rows, all better, there is proof, and with one fewer there is none: that is refused."""
    acceptance = Acceptance(alpha=alpha)
    least = next(n for n in itertools.count(1) if decided(counted(n, 0), alpha=alpha).proved)

    acceptance.require_cases(least)
    with pytest.raises(wg.UsageError, match=rf"^{least - 1} validation .* fewer than {least} .* least {2 * least} val"):
        acceptance.require_cases(least - 1)


def test_lenient_asks_for_no_number_of_rows() -> None:
    """What needs no proof needs no rows for one."""
    Acceptance(rule="lenient").require_cases(1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 0.0}, "must be more than 0 and less than 1"),
        ({"alpha": 1.0}, "must be more than 0 and less than 1"),
        ({"alpha": float("nan")}, "must be more than 0 and less than 1"),
        ({"alpha": "0.05"}, "is no number: give one that is more than 0 and less than 1"),
        ({"alpha": None}, "is no number: give one that is more than 0 and less than 1"),
        ({"margin": -0.1}, "must be a number, at least 0 and less than 1"),
        ({"margin": 1.0}, "must be a number, at least 0 and less than 1"),
        ({"margin": float("nan")}, "must be a number, at least 0 and less than 1"),
        ({"margin": "0.02"}, "must be a number, at least 0 and less than 1, as in 0.02"),
        ({"rule": "Lenient"}, 'must be "strict" or "lenient"'),
        ({"rule": ["strict"]}, 'must be "strict" or "lenient"'),
    ],
)
def test_an_acceptance_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    """The message has the name and the value, and says what is allowed."""
    ((name, value),) = options.items()

    with pytest.raises(wg.UsageError) as caught:
        Acceptance(**options)
    assert str(caught.value).startswith(f"{name}={value!r} {words}")


def test_too_few_rows_are_told_before_anybody_is_asked(project: Project) -> None:
    """Nine validation rows seal five, eight seal four, which can prove nothing: file, line, numbers, and what to do."""
    project.rows("validation", [f"held{number}" for number in range(9)])
    enough = project.json("optimize", project.config)
    project.rows("validation", [f"held{number}" for number in range(8)])
    engine = RuleEngine(lambda _: AssertionError("asked"), name="fake")
    project.engine(engine)
    code, _, err = project.run("optimize", project.config)

    assert enough["decision"]["n"] == 5
    assert (code, engine.history) == (2, ())
    assert (
        "wordgrad.toml:19: data.validation: 4 validation rows are sealed to confirm what is found (rows of one case count "
        "once), and at alpha = 0.05 fewer than 5 can prove nothing: give at least 10 validation rows, or accept what is "
        'only more likely better (rule = "lenient")\n'
    ) in err


def test_rows_that_ask_the_same_are_one_case(project: Project) -> None:
    """Six sealed copies of a question are one: they can prove nothing, and count once beside others."""
    project.rows("validation", ["same"] * 6 + [f"held{number}" for number in range(6)])
    code, _, err = project.run("optimize", project.config)
    project.rows("validation", ["same"] * 6 + [f"held{number}" for number in range(18)])
    found = project.json("optimize", project.config)["decision"]

    assert (code, "rows are sealed to confirm what is found (rows of one case count once)" in err) == (2, True)
    assert (found["proved"], found["n"] <= 12) == (True, True)
    assert found["n"] == len(set(project.divided().confirmation))


def test_cases_are_counted_not_rows(project: Project) -> None:
    """Twelve sealed rows of two customers are two cases: `optimize` refuses them, and the doctor says why."""
    lines = [json.dumps({"word": f"held{n}", "shout": f"HELD{n}", "customer": n % 4}) for n in range(24)]
    for split, count in (("train", 8), ("test", 5)):
        rows = [{"word": f"{split}{n}", "shout": f"{split}{n}".upper(), "customer": None} for n in range(count)]
        (project.folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (project.folder / "validation.jsonl").write_text("\n".join(lines), encoding="utf-8")
    project.change('input = "word"', 'input = "word"\nby = "customer"')
    code, _, err = project.run("optimize", project.config)
    found = project.json("doctor", project.config)

    assert (code, "2 validation rows are sealed" in err) == (2, True)
    assert (found["sealed"], found["provable"], found["worthwhile"]) == (2, None, False)


def test_a_judge_of_a_guardrail_is_paid_for_out_of_the_budget(project: Project) -> None:
    """What it takes is held back for the end: wherever the budget ends the search, the sealed rows decide."""

    class Polite(Half):
        """Judges every answer to be polite, at length."""

        def said(self, request: Request) -> object:  # type: ignore[override]
            judged = {"critique": "fine " * 20, "score": 1}
            return judged if request.purpose == "judge" else super().said(request)

    project.rows("validation", [f"held{number}" for number in range(40)])
    project.change("steps = 2", "steps = 6")
    project.change("[search]", '[guardrails.polite]\nkind = "rubric"\nrubric = "Polite: 1."\nmargin = 0.9\n\n[search]')
    project.engine(Polite(price=Price(input_usd=1.0, output_usd=2.0)))
    whole = project.json("optimize", project.config)["cost_usd"]

    for share in (0.5, 0.7, 0.9):
        found = project.json("optimize", project.config, "--budget-usd", str(share * whole))
        assert (found["status"], found["cost_usd"] <= share * whole) == ("budget", True)


# ---- who meets which rows


def asked(engine: RuleEngine, words: Collection[str]) -> Counter[tuple[str, str]]:
    """How often each prompt was asked each of these words."""
    calls = [each for each in engine.history if each.request.purpose == "forward"]
    return Counter((each.request.messages[0].text, each.prompt) for each in calls if each.prompt in words)


def met(texts: Collection[str], words: Collection[str]) -> Counter[tuple[str, str]]:
    """Each of these prompts is asked each of these words, once."""
    return Counter(itertools.product(texts, words))


class Heard(Slow):
    """Keeps each word that it was asked, in the order of time."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def said(self, request: Request) -> Reply:
        self.words.append(request.messages[-1].text)
        return super().said(request)


@pytest.mark.parametrize("seed", [0, 7])
def test_sealed_rows_meet_the_start_and_one_text_at_the_end(project: Project, seed: int) -> None:
    """Of the texts that led in the search the last one alone, once, and after all that the search asked."""
    engine = Heard()
    project.engine(engine)
    found = project.json("optimize", project.config, "--seed", seed)
    sealed = project.divided(seed=seed).confirmation

    first = min(engine.words.index(word) for word in sealed)
    assert found["leads"] == 2
    assert asked(engine, sealed) == met([START, BETTER], sealed)
    assert {each for each in engine.words[first:] if not each.startswith("test")} == set(sealed)


def test_the_search_sees_selection_rows_only(project: Project) -> None:
    """The text that led in between was asked about each of them, once, and about no sealed one."""
    engine = Slow()
    project.engine(engine)
    project.json("optimize", project.config)

    asked_of = asked(engine, [f"held{number}" for number in range(12)])
    between = Counter({case: times for case, times in asked_of.items() if case[0] == "Shout even."})
    assert between == met(["Shout even."], project.divided().selection)


def test_critics_and_rewriter_read_training_rows_only(project: Project) -> None:
    """No row that chooses or confirms a text can be written into one."""
    engine = Slow()
    project.engine(engine)
    project.json("optimize", project.config)
    calls = [each.request for each in engine.history if each.request.purpose in ("backward", "optimize")]
    read = "\n".join(message.text for request in calls for message in request.messages)

    assert "train" in read
    assert "held" not in read
    assert not [number for number in range(5) if f"test{number}" in read]


class Parrot(Pupil):
    """Its rewrite shouts the words that it knows by heart, and no other.

    Args:
        words: Those that the search shows it.
    """

    def __init__(self, words: Collection[str]) -> None:
        super().__init__({"value": "By heart."})
        self.words = words

    def said(self, request: Request) -> Reply:
        word = request.messages[-1].text
        if request.purpose == "forward" and request.messages[0].text == "By heart.":
            return word.upper() if word in self.words or word.startswith("train") else word
        return super().said(request)


@pytest.mark.parametrize("end", ["accepted", "rejected", "nothing led"])
def test_test_rows_meet_the_start_and_an_accepted_text(project: Project, end: str) -> None:
    """They are for the report: no other text is scored on them."""
    slowly, parrot = Pupil({"value": "Say it slowly."}), Parrot(project.divided().selection)
    engine = {"accepted": Slow(), "rejected": parrot, "nothing led": slowly}[end]
    project.engine(engine)
    project.json("optimize", project.config)

    texts, words = [START, BETTER] if end == "accepted" else [START], [f"test{number}" for number in range(5)]
    assert asked(engine, words) == met(texts, words)


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_ask_the_same_stay_on_one_side(project: Project, seed: int) -> None:
    """A question that the search could learn by heart is none that confirms what it found."""
    project.rows("validation", [f"held{number // 2}" for number in range(24)])
    engine = Heard()
    project.engine(engine)
    project.json("optimize", project.config, "--seed", seed)
    learned = max(place for place, each in enumerate(engine.words) if each.startswith("train"))
    sealed = set(project.divided(seed=seed).confirmation)

    assert len(sealed) == 6
    assert not sealed & set(engine.words[:learned])
    assert {each for each in engine.words[learned:] if each.startswith("held")} >= sealed


def test_a_seed_divides_alike(project: Project) -> None:
    """The same seed seals the same rows, run after run, and another seed other rows."""
    searched = []
    for seed in (1, 1, 2):
        engine = Slow()
        project.engine(engine)
        project.json("optimize", project.config, "--seed", seed)
        # The text that led in between met the selection rows, and no others.
        searched.append(
            {word for text, word in asked(engine, [f"held{n}" for n in range(12)]) if text == "Shout even."}
        )

    assert searched[0] == searched[1] != searched[2]
    assert len(searched[0]) == 6


# ---- a text that is not accepted


@pytest.mark.parametrize("accept", RULES)
def test_what_was_learned_by_heart_is_not_accepted(project: Project, accept: Rule) -> None:
    """A text that is perfect on the selection rows and no better on others wins each race, and the start is kept."""
    engine = Parrot(project.divided().selection)
    project.engine(engine)
    found = project.json("optimize", project.config, "--write", "--accept", accept)

    assert (found["status"], found["leads"], found["accepted"]) == ("done", 1, False)
    assert found["variables"] == [{"name": "prompt", "start": START, "found": "By heart.", "end": START}]
    assert (found["decision"]["better"], found["decision"]["worse"], found["decision"]["start"]) == (0, 0, 0.0)
    assert (found["test"]["start"], found["test"]["end"], found["test"]["gain"]) == (0.0, 0.0, None)
    assert project.prompt.read_text(encoding="utf-8") == START + "\n"


def test_a_text_that_was_not_accepted_is_kept_beside_the_start(project: Project) -> None:
    """The run has it, and what stands last, and is exported, is the start."""
    project.engine(Parrot(project.divided().selection))
    run = project.json("optimize", project.config)["run"]

    _, text, _ = project.run("runs", "export", run, "--variable", "prompt")
    (difference,) = project.json("runs", "diff", run)
    _, shown, _ = project.run("runs", "show", run)

    assert text == START + "\n"
    assert difference == {"name": "prompt", "start": START, "end": START}
    assert "[-Say it-]{+By heart+}." in shown
    assert shown.endswith(f"prompt:\n{START}\n")


def test_a_rejected_text_comes_out_the_same(project: Project) -> None:
    """Resumed and replayed, the run keeps the start again, and asks nobody."""
    project.engine(Parrot(project.divided().selection))
    first = project.json("optimize", project.config)
    project.engine(RuleEngine(lambda _: AssertionError("asked"), name="fake"))

    again = project.json("runs", "resume", first["run"])

    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert project.json("runs", "replay", first["run"])["same"]


# ---- the lenient rule


def test_a_likely_better_text_is_kept_where_that_is_asked_for(project: Project) -> None:
    """Three sealed rows better and none worse: `--accept lenient` takes it, writes it, and says that it is unproved."""
    project.change("steps = 2", "steps = 1")
    project.engine(Slow())
    strict = project.json("optimize", project.config)
    _, out, _ = project.run("optimize", project.config, "--write", "--accept", "lenient")
    lenient = project.json("runs", "list")[0]["report"]

    assert (strict["accepted"], lenient["accepted"]) == (False, True)
    assert [lenient["decision"][name] for name in ("rule", "proved", "better", "worse")] == ["lenient", False, 3, 0]
    assert "the new text is taken, unproved (6 sealed validation rows: better on 3, worse on 0): better with a " in out
    assert project.prompt.read_text(encoding="utf-8") == "Shout even.\n"


def test_the_command_line_overrules_the_file(project: Project) -> None:
    """Without --accept the file's rule holds; with it, that of the command line, in both directions."""
    project.change("[search]", '[accept]\nrule = "lenient"\n\n[search]')
    project.change("steps = 2", "steps = 1")
    project.engine(Slow())
    found = [project.json("optimize", project.config, *more) for more in ([], ["--accept", "strict"])]

    assert [(each["decision"]["rule"], each["accepted"]) for each in found] == [("lenient", True), ("strict", False)]


def test_few_rows_are_enough_for_the_lenient_rule(project: Project) -> None:
    """Where nothing need be proved, four sealed rows decide."""
    project.rows("validation", [f"held{number}" for number in range(8)])
    found = project.json("optimize", project.config, "--accept", "lenient")

    assert (found["decision"]["n"], found["accepted"], found["decision"]["proved"]) == (4, True, False)


def test_a_lenient_run_stays_lenient(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule is the run's: resumed before its decision it decides by it, and replayed it comes out the same."""
    project.change("steps = 2", "steps = 1")
    project.engine(Slow())

    with monkeypatch.context() as patch:
        patch.setattr("wordgrad.cli.screen.Screen.__call__", breaking(Step, KeyboardInterrupt()))
        project.run("optimize", project.config, "--accept", "lenient")
    (run,) = (each["run"] for each in project.json("runs", "list"))
    resumed = project.json("runs", "resume", run)

    assert (resumed["decision"]["rule"], resumed["accepted"]) == ("lenient", True)
    assert project.json("runs", "replay", run)["same"]


def test_a_rule_that_is_none_is_refused(project: Project) -> None:
    """The two that there are stand in the message."""
    code, _, err = project.run("optimize", project.config, "--accept", "sloppy")

    assert (code, "strict" in err, "lenient" in err) == (2, True, True)


# ---- guardrails


METRICS = """\
def shouted(output, target):
    "The output is in capitals."
    return output == output.upper()


def brief(output, target):
    "The output is no longer than what is wanted."
    return len(output) <= len(target)
"""


class Chatty(Pupil):
    """Shouts, and adds a mark to some words where the prompt says CAPITALS and not "only".

    Args:
        words: The words that it adds it to; all where None.
        rewrites: What the optimizer's calls get, in turn.
    """

    def __init__(self, words: Collection[str] | None = None, rewrites: Collection[str] = (BETTER,)) -> None:
        super().__init__(max_in_flight=1)
        self.words = words
        self.rewrites = itertools.cycle(rewrites)

    def said(self, request: Request) -> Reply:
        said, word = super().said(request), request.messages[-1].text
        if request.purpose == "optimize":
            return {"value": next(self.rewrites)}
        prompt = request.messages[0].text
        if request.purpose != "forward" or "CAPITALS" not in prompt:
            return said
        if "only" in prompt:
            return word if word[-1] in "13579" else word.upper()
        return f"{word.upper()}!" if self.words is None or word in self.words else said


def guarded(project: Project, margin: float) -> None:
    """Let the target want capitals, and a guardrail outputs that are no longer than what is wanted."""
    (project.folder / "own_metrics.py").write_text(METRICS, encoding="utf-8")
    metric = '[metric]\nkind = "function"\nfunction = "own_metrics:shouted"\n'
    guardrail = f'[guardrails.brief]\nkind = "function"\nfunction = "own_metrics:brief"\nmargin = {margin}\n'
    project.change("[search]", f"{metric}\n{guardrail}\n[search]")


def test_a_guardrail_that_is_kept_lets_a_text_pass(project: Project) -> None:
    """Sixty sealed rows without a loss rule out the one that would not be borne, and the report says so."""
    project.rows("validation", [f"held{number}" for number in range(120)])
    guarded(project, 0.1)
    project.engine(Chatty(words=()))
    found = project.json("optimize", project.config)

    assert (found["accepted"], found["decision"]["proved"]) == (True, True)
    assert found["decision"]["guardrails"] == {
        "brief": {
            "kept": True,
            "broken": 0,
            "unjudged": 0,
            "difference": 0.0,
            "low": pytest.approx(-0.066, abs=0.001),
            "margin": 0.1,
        }
    }


def test_a_guardrail_that_is_broken_keeps_the_start(project: Project) -> None:
    """A text that is better by the target and too long leads the search, and is not accepted."""
    project.rows("validation", [f"held{number}" for number in range(120)])
    guarded(project, 0.1)
    project.engine(Chatty())
    run = project.json("optimize", project.config)
    _, out, _ = project.run("optimize", project.config, "--write")

    assert (run["leads"], run["accepted"], run["decision"]["better"]) == (1, False, 60)
    assert run["decision"]["guardrails"]["brief"]["difference"] == -1.0
    assert "the start is kept: 'brief' may have become worse: -1, and no less than -1 is certain, where -0.1 " in out
    assert project.prompt.read_text(encoding="utf-8") == START + "\n"


@pytest.mark.parametrize("accept", RULES)
def test_one_sealed_row_breaks_a_hard_constraint(project: Project, accept: Rule) -> None:
    """All sealed rows are better by the target, and one output is too long: under no rule is that accepted."""
    guarded(project, 0)
    project.engine(Chatty(words=project.divided().confirmation[:1]))
    found = project.json("optimize", project.config, "--accept", accept)

    assert (found["leads"], found["accepted"]) == (1, False)
    assert (found["decision"]["better"], found["decision"]["guardrails"]["brief"]["broken"]) == (6, 1)


@pytest.mark.parametrize(("margin", "found"), [(0, "CAPITALS only."), (0.5, "CAPITALS.")])
def test_a_race_drops_what_breaks_a_hard_constraint(project: Project, margin: float, found: str) -> None:
    """Of two candidates the better one breaks it: the other one leads. A guardrail that may lose something drops none."""
    guarded(project, margin)
    project.change("steps = 2", "steps = 1")
    project.engine(Chatty(rewrites=("CAPITALS.", "CAPITALS only.")))

    assert project.json("optimize", project.config)["variables"][0]["found"] == found


def test_a_job_with_guardrails_comes_out_the_same(project: Project) -> None:
    """Resumed and replayed, each guardrail says the same again, and no function of the user's is called once more."""
    guarded(project, 0.1)
    log = project.folder / "log.txt"
    counting = f"    with open({str(log)!r}, 'a') as log:\n        log.write('.')\n"
    source = METRICS.replace("    return len", f"{counting}    return len")
    (project.folder / "own_metrics.py").write_text(source, encoding="utf-8")
    project.engine(Chatty())
    first = project.json("optimize", project.config)
    calls = len(log.read_text(encoding="utf-8"))
    project.engine(RuleEngine(lambda _: AssertionError("asked"), name="fake"))
    again = project.json("runs", "resume", first["run"])

    assert again["decision"] == first["decision"]
    assert project.json("runs", "replay", first["run"])["same"]
    assert len(log.read_text(encoding="utf-8")) == calls == 5 + 12


# ---- without test rows

UNTESTED = 1 + 6 + 4 + 4 + 2 + 6 + 6 + 4 + 6
"""Preflight, start on confirmation, batch, critics, rewrites, both texts on selection, next batch, end on confirmation."""


@pytest.fixture
def untested(project: Project) -> Project:
    """The job without test rows."""
    project.change('test = "test.jsonl"\n', "")
    (project.folder / "test.jsonl").unlink()
    return project


def test_a_job_needs_no_test_rows(untested: Project) -> None:
    """The sealed rows decide alone: they meet the start and one text, each once, and the report has no test."""
    engine = Pupil()
    untested.engine(engine)
    found = untested.json("optimize", untested.config)

    sealed = untested.divided().confirmation
    assert (found["status"], found["accepted"], found["test"], found["calls"]) == ("done", True, None, UNTESTED)
    assert asked(engine, sealed) == met([START, BETTER], sealed)


def test_scores_of_sealed_rows_are_shown_where_there_is_no_test(untested: Project) -> None:
    """The list has them, and no table speaks of test rows."""
    _, out, _ = untested.run("optimize", untested.config)
    _, listed, _ = untested.run("runs", "list")

    assert "the new text is better (6 sealed validation rows: better on 6, worse on 0)" in out
    assert "test rows" not in out
    assert "0.0% → 100.0%" in listed


def test_what_nothing_led_has_no_scores_without_test_rows(untested: Project) -> None:
    """Nothing was decided, and nothing is shown in its place."""
    untested.engine(Pupil({"value": "Say it slowly."}))
    found = untested.json("optimize", untested.config)
    _, listed, _ = untested.run("runs", "list")

    assert (found["accepted"], found["decision"], found["test"], "→" in listed) == (False, None, None, False)


@pytest.mark.parametrize(
    ("calls", "steps", "status"), [(34, 0, "budget"), (35, 1, "budget"), (56, 1, "budget"), (57, 2, "done")]
)
def test_a_budget_leaves_enough_to_decide(untested: Project, calls: int, steps: int, status: str) -> None:
    """As much as the start took on the sealed rows is held back for a new text; what was found is judged."""
    found = untested.json("optimize", untested.config, "--budget-calls", calls)

    assert (found["steps"], found["status"], found["accepted"]) == (steps, status, steps > 0)
    assert found["calls"] <= calls
    assert untested.json("runs", "replay", found["run"])["same"]


def test_a_job_without_test_rows_is_resumed(untested: Project) -> None:
    """A budget that ended it before a text led can be raised, and nothing is paid twice."""
    whole = untested.json("optimize", untested.config)
    engine = Pupil()
    untested.engine(engine)
    run = untested.json("optimize", untested.config, "--budget-calls", 34)["run"]
    resumed = untested.json("runs", "resume", run, "--budget-calls", 100)

    ours = {"run": run, "seconds": 0}
    assert {**resumed, **ours} == {**whole, **ours}
    assert len(engine.history) == UNTESTED
    assert untested.json("runs", "replay", run)["same"]


def test_the_estimate_bounds_a_job_without_test_rows(untested: Project) -> None:
    """Calls and money stay inside what was said before."""
    untested.engine(Pupil(price=Price(input_usd=1.0, output_usd=2.0)))
    said = untested.json("estimate", untested.config)["all"]

    found = untested.json("optimize", untested.config)

    assert said["calls"]["least"] <= found["calls"] <= said["calls"]["most"]
    assert 0 < found["cost_usd"] <= said["usd"]
