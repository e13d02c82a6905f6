"""What an optimizer sends: the value once, each record whole, history, constraints, and candidates that differ."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from optim_engine import Engine, in_turn, json_reply
from wordgrad import Gradient, Variable
from wordgrad.optim.constraints import MaxTokens
from wordgrad.optim.proposal import StepResult
from wordgrad.optim.tgd import TGD
from wordgrad.types import Completion, Request, Sampling

VALUE = "You summarise articles. {literal} {{slot}}"


def prompt(gradients: int = 1) -> Variable:
    """A parameter with some gradients."""
    made = Variable(VALUE, "system prompt of the summariser", requires_grad=True)
    for number in range(gradients):
        made.accumulate_grad(gradient(number))
    return made


def gradient(number: int, **more: object) -> Gradient:
    """A gradient with evidence that can be told from others."""
    known = {
        "text": f"change {number}!",
        "example": f"{number:04}",
        "objective": "It keeps every figure.",
        "input": f"input {number}!",
        "output": f"output {number}!",
        "feedback": f"judge {number}!",
    }
    return Gradient(**(known | more))  # type: ignore[arg-type]


def test_the_whole_value_once_and_every_record_whole() -> None:
    """Eight gradients are eight whole records beside one copy of the value."""
    engine = Engine(in_turn(json_reply("new")))

    TGD([prompt(8)], engine=engine).step()

    (sent,) = engine.prompts
    assert sent.count(VALUE) == 1
    assert all(sent.count(f"{word} {number}!") == 1 for number in range(8) for word in ("change", "judge"))
    assert "It keeps every figure." in sent


def test_bare_words_come_with_what_they_are_about() -> None:
    """What a judge or a person said stands beside input and output; a critic's request has put them into words."""
    engine = Engine(in_turn(json_reply("new")))
    system = prompt()
    system.accumulate_grad(gradient(1, feedback="change 1!"))

    TGD([system], engine=engine).step()

    assert "- change 0!\n  judge: judge 0!\n- change 1!\n  input: input 1!\n  output: output 1!\n" in engine.prompts[0]


def test_a_solution_that_was_judged_is_not_shown_again() -> None:
    """Where the judged output is the value itself, the value still stands in one section only."""
    engine = Engine(in_turn(json_reply("new")))
    system = prompt()
    system.accumulate_grad(gradient(1, feedback="change 1!", output=VALUE))

    TGD([system], engine=engine).step()

    assert engine.prompts[0].count(VALUE) == 1


def test_several_objectives_are_told_apart() -> None:
    """With several objectives each record names its own by number."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt()
    system.accumulate_grad(gradient(1, objective="It is short."))

    TGD([system], engine=engine).step()

    assert "1. It keeps every figure.\n2. It is short." in engine.prompts[0]
    assert re.findall(r"^  aim: (\d)$", engine.prompts[0], re.MULTILINE) == ["1", "2"]


def test_constraints_and_examples_are_told() -> None:
    """Constraints in words and in code, the Variable's own ones, and in-context examples reach the model."""
    engine = Engine(in_turn(json_reply("new")))
    system = Variable(VALUE, "prompt", requires_grad=True, constraints=("It is polite.",))
    system.accumulate_grad("Be brief.")

    TGD([system], engine=engine, constraints=[MaxTokens(40)], in_context_examples=["You translate."]).step()

    assert "- It has at most 40 tokens (about 30 English words).\n- It is polite." in engine.prompts[0]
    assert "Good texts of this kind" in engine.prompts[0]
    assert "You translate." in engine.prompts[0]


def test_momentum_shows_past_values_and_gradients() -> None:
    """Past values and what was asked of them stand in the next prompts, oldest first, up to the window."""
    engine = Engine(in_turn(*(json_reply(f"value {number}") for number in (1, 2, 3))))
    system = prompt(0)
    optimizer = TGD([system], engine=engine, momentum=2)
    for number in (1, 2, 3, 4):
        optimizer.zero_grad()
        system.accumulate_grad(gradient(number))
        optimizer.step()

    past = engine.prompts[3].split("What was tried before, oldest first:")[1].split("The current ")[0]

    assert "What was tried before" not in engine.prompts[0]
    assert [line for line in past.split("\n") if ":" in line] == [
        "text: value 1",
        "asked: change 2!",
        "text: value 2",
        "asked: change 3!",
    ]


def test_a_rejected_step_is_remembered() -> None:
    """After a rejected step the history says that the value was not replaced, without a second copy of it."""
    engine = Engine(in_turn("no", "no", json_reply("new")))
    optimizer = TGD([prompt()], engine=engine, momentum=1)
    optimizer.step()
    optimizer.step()

    assert engine.prompts[2].count(VALUE) == 1
    assert "text: (the current text: it was not replaced)\nasked: change 0!" in engine.prompts[2]


def test_a_rejected_step_draws_anew() -> None:
    """The next step has another sample index, else it would get the same rejected reply for ever."""
    engine = Engine(in_turn("no"))
    optimizer = TGD([prompt()], engine=engine, seed=7)
    optimizer.step()
    optimizer.step()

    assert [request.sample for request in engine.seen] == [(7, 0, 0), (7, 0, 0), (7, 1, 0), (7, 1, 0)]


def test_candidates_differ_without_temperature() -> None:
    """Each candidate has its own prompt and sample index; all but the end is shared, so that prefix caches hit."""
    engine = Engine(lambda request: json_reply(f"value {request.sample}"))

    proposals = TGD([prompt(6)], engine=engine, candidates=8).propose()

    texts = [request.messages[-1].text for request in sorted(engine.seen, key=lambda each: each.sample)]
    shared = texts[0].split("Reply with JSON only")[0]
    assert [each.candidate for each in proposals] == list(range(8))
    assert len(set(texts)) == len({request.sample for request in engine.seen}) == 8
    assert all(text.startswith(shared) for text in texts)
    assert {request.sampling.temperature for request in engine.seen} == {None}


def test_the_seed_decides() -> None:
    """The same seed sends the same prompts, another one others."""

    def sent(seed: int) -> list[str]:
        engine = Engine(in_turn(json_reply("new")))
        TGD([prompt(9)], engine=engine, candidates=12, seed=seed).propose()
        return sorted(engine.prompts)

    assert sent(1) == sent(1) != sent(2)


def test_hash_seeds_do_not_matter() -> None:
    """The prompts are the same in processes with other hash seeds."""
    program = (
        "from test_optim_prompts import *\n"
        "from wordgrad import context\n"
        "context.run.set(type('Run', (), {'secret': b'x', 'seed': 3, 'wrap': lambda self, engine: engine})())\n"
        "engine = Engine(in_turn(json_reply('new')))\n"
        "TGD([prompt(9)], engine=engine, candidates=4).propose()\n"
        "print(sorted(engine.prompts))"
    )

    def sent(seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    assert sent("1") == sent("2") != ""


def test_the_reply_may_be_as_long_as_the_value() -> None:
    """The default output limit grows with the value; the user's own options are sent as they are."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt()
    system.value = "x" * 40_000
    TGD([system], engine=engine, edit_above=50_000).propose()
    TGD([system], engine=engine, edit_above=50_000, options=Sampling(max_tokens=99)).propose()

    assert [request.sampling.max_tokens for request in engine.seen] == [20_000, 99]


def test_calls_say_what_they_are() -> None:
    """Each call carries its purpose and its template's hash."""
    engine = Engine(in_turn("no", json_reply("new")))
    TGD([prompt()], engine=engine).step()

    assert [request.purpose for request in engine.seen] == ["optimize", "optimize"]
    assert len({request.template for request in engine.seen}) == 2
    assert all(len(request.template) == 64 for request in engine.seen)


@pytest.mark.parametrize("schema", [True, False])
def test_a_long_value_is_changed_in_places(schema: bool) -> None:
    """Beyond `edit_above` characters the model quotes what to change, and the rest stays byte for byte."""

    def rule(request: Request) -> str:
        if schema:
            return json.dumps({"edits": [{"find": "Be kind.", "replace": "Be brief."}]})
        tag = re.findall(r"<find-(new-[0-9a-f]+)>", request.messages[-1].text)[-1]
        return f"<find-{tag}>Be kind.</find-{tag}>\n<with-{tag}>Be brief.</with-{tag}>"

    engine, system = Engine(rule, schema=schema), prompt()
    system.value = "Rule.\n" * 2_000 + "Be kind.\n" + "Rule.\n" * 2_000

    result = TGD([system], engine=engine).step()

    assert result == StepResult(applied=True, calls=1)
    assert system.value == "Rule.\n" * 2_000 + "Be brief.\n" + "Rule.\n" * 2_000


def test_an_edit_without_a_place_is_repaired() -> None:
    """The repair says which words do not stand in the value exactly once."""
    edits = [json.dumps({"edits": [{"find": find, "replace": "new"}]}) for find in ("nowhere", "articles")]
    engine, system = Engine(in_turn(*edits)), prompt()

    result = TGD([system], engine=engine, edit_above=10).step()

    assert result == StepResult(applied=True, calls=2)
    assert "'nowhere' stands in the current text 0 times instead of once" in engine.prompts[1]


# ---- large batches


def groups_by_parity(request: Request) -> str:
    """Reduce calls: the records that ask for the same of two changes are a group. Rewrites: a value."""
    sent = request.messages[-1].text
    if "Groups: at most" not in sent:
        return json_reply("new")
    found: dict[str, list[int]] = {}
    for number, change in re.findall(r"record (\d+)\n(\w+)", sent):
        found.setdefault(change, []).append(int(number))
    return json.dumps({"groups": [{"change": f"{each} them", "keep": "", "records": of} for each, of in found.items()]})


def many(count: int) -> Variable:
    """A parameter with feedback that asks for two changes."""
    made = prompt(0)
    for number in range(count):
        made.accumulate_grad(gradient(number, text=("odd" if number % 2 else "even") + f" because of {number}"))
    return made


def test_much_feedback_is_grouped_with_support() -> None:
    """A hundred records become two with support counts, by about sqrt(n) map calls and one reduce call."""
    engine = Engine(groups_by_parity)

    result = TGD([many(100)], engine=engine, feedback_tokens=500).step()

    sent = engine.prompts[-1]
    assert (result.applied, result.calls, len(engine.seen)) == (True, 12, 12)
    assert re.findall(r"^- (.*)$", sent, re.MULTILINE) == ["even them", "odd them"]
    assert re.findall(r"^  seen: (.*)$", sent, re.MULTILINE) == ["50 times", "50 times"]
    assert re.findall(r"^  judge: (.*)$", sent, re.MULTILINE) == ["judge 0!", "judge 1!"]


def test_little_feedback_is_not_grouped() -> None:
    """Below the budget nothing is reduced."""
    engine = Engine(groups_by_parity)

    assert TGD([many(100)], engine=engine, feedback_tokens=100_000).step().calls == 1


def test_candidates_share_the_groups() -> None:
    """Feedback is grouped once for all candidates."""
    engine = Engine(groups_by_parity)

    TGD([many(16)], engine=engine, candidates=3, feedback_tokens=100).propose()

    assert len(engine.seen) == 4 + 1 + 3


@pytest.mark.parametrize(
    "reply",
    [
        "no",
        Completion(text="{", finish="length"),
        '{"groups": []}',
        '{"groups": [{"change": "x", "records": [0, 99]}]}',
    ],
)
def test_an_unreadable_reduction_loses_nothing_silently(reply: str | Completion) -> None:
    """Records that no group holds stand for themselves; what then does not fit is counted in the prompt."""
    engine = Engine(lambda request: reply if "Groups: at most" in request.messages[-1].text else json_reply("new"))

    result = TGD([many(9)], engine=engine, feedback_tokens=50).step()

    kept = len(re.findall(r"^- ", engine.prompts[-1], re.MULTILINE))
    assert result.applied
    assert 0 < kept < 9
    assert f"({9 - kept} more records left out)" in engine.prompts[-1]


def test_the_engine_s_context_is_a_budget() -> None:
    """Feedback that would not fit the engine's context is grouped, whatever the budget says."""
    engine = Engine(groups_by_parity, context_tokens=3_400)

    TGD([many(100)], engine=engine, feedback_tokens=1_000_000).step()

    assert len(engine.seen) == 12


def test_one_long_record_is_shortened_and_marked() -> None:
    """A single field longer than 4,000 characters keeps its ends; the prompt says how much is missing."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt(0)
    system.accumulate_grad(gradient(1, feedback="", input="a" * 5_000 + "z" * 5_000))

    TGD([system], engine=engine).step()

    assert "[… 6000 characters left out …]" in engine.prompts[0]
    assert len(engine.prompts[0]) < 6_000


def test_a_group_of_several_wanted_outputs_stands_under_none_of_them() -> None:
    """Under an output stand requests that speak for records which wanted it; one that speaks for more comes first."""
    parameter, wanted = prompt(0), Counter("ABCDEFG"[number % 7] for number in range(100))
    for number in range(100):
        parameter.accumulate_grad(gradient(number, text=f"even because of {number}", expected="ABCDEFG"[number % 7]))
    engine = Engine(groups_by_parity)

    TGD([parameter], engine=engine, feedback_tokens=500).propose()

    feedback = engine.prompts[-1].split("<feedback-")[1].split("</feedback-")[0]
    unasked, *under = re.split(r"^([A-G]):$", feedback, flags=re.MULTILINE)
    spoken = {label: _spoken_for(text) for label, text in zip(under[::2], under[1::2], strict=True)}
    assert _spoken_for(unasked) + sum(spoken.values()) == 100
    assert _spoken_for(unasked) > 0
    assert all(spoken[label] <= wanted[label] for label in spoken)


def _spoken_for(text: str) -> int:
    return sum(map(int, re.findall(r"seen: (\d+) times", text)))


def test_a_group_of_one_record_leaves_it_as_it_was() -> None:
    """A record that wants what no other wants keeps its own words, whatever a reduction calls it."""

    def alone(request: Request) -> str:
        sent = request.messages[-1].text
        if "Groups: at most" not in sent:
            return json_reply("new")
        first, *others = map(int, re.findall(r"^record (\d+)$", sent, re.MULTILINE))
        groups = [{"change": "called otherwise", "keep": "", "records": [first]}]
        if others:
            groups.append({"change": "the others", "keep": "", "records": others})
        return json.dumps({"groups": groups})

    engine = Engine(alone)

    TGD([many(100)], engine=engine, feedback_tokens=500).step()

    assert "called otherwise" not in engine.prompts[-1]
    assert "- even because of 0\n" in engine.prompts[-1]
