"""What optimisation costs, counted: calls, and rounds of calls that wait for each other.

`k` model calls in a chain, `b` examples; TextGrad's counts of the same work stand beside ours. Two more rows, the chain
of 1,200 calls and the sum of twelve operands, are in test_core_backward.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

import wordgrad as wg
from engines import Model, prompt

Losses = Callable[[Model, Sequence[wg.Variable]], list[wg.Variable]]


@dataclass(frozen=True)
class Cost:
    """Calls by purpose, and the rounds that they took."""

    forward: int
    judge: int
    backward: int
    update: int
    rounds: int

    @property
    def calls(self) -> int:
        """All of them."""
        return self.forward + self.judge + self.backward + self.update


def llm_judge(model: Model, answers: Sequence[wg.Variable]) -> list[wg.Variable]:
    """A model judges each answer."""
    loss = wg.TextLoss("Is it true?", model)
    return [loss(answer) for answer in answers]


def half_fail(model: Model, answers: Sequence[wg.Variable]) -> list[wg.Variable]:
    """A metric that every other answer passes."""
    loss = wg.MetricLoss(lambda output, wanted: wanted, objective="every other one", pure=True)
    return [loss(answer, bool(place % 2)) for place, answer in enumerate(answers)]


def all_pass(model: Model, answers: Sequence[wg.Variable]) -> list[wg.Variable]:
    """A metric that every answer passes."""
    loss = wg.MetricLoss(lambda output, wanted: True, objective="anything", pure=True)
    return [loss(answer) for answer in answers]


def cost(k: int, b: int, losses: Losses, strategy: object) -> Cost:
    """One step of optimisation of `k` prompts in a chain, on a batch of `b`."""
    model = Model("an answer", rewrite={"value": "A better prompt."})
    prompts = [prompt(f"Do step {place}.", f"prompt {place}") for place in range(k)]

    def pipeline(question: str) -> wg.Variable:
        text: str | wg.Variable = question
        for each in prompts:
            text = wg.BlackboxLLM(model, each)(text)
        assert isinstance(text, wg.Variable)
        return text

    with wg.backward_engine(model):
        wg.backward(losses(model, [pipeline(f"question {n}") for n in range(b)]), strategy=strategy)  # type: ignore[arg-type]
        wg.TGD(prompts).step()
    return Cost(
        forward=model.count("forward"),
        judge=model.count("judge"),
        backward=model.count("backward"),
        update=model.count("optimize"),
        rounds=model.rounds,
    )


@pytest.mark.parametrize(
    ("k", "b", "losses", "strategy", "expected", "calls"),
    [
        # TextGrad: 83 calls in 83 rounds, 133 in 133, 125 in 125.
        (3, 8, llm_judge, wg.per_node, Cost(forward=24, judge=8, backward=24, update=3, rounds=8), 59),
        (3, 8, llm_judge, wg.fused, Cost(forward=24, judge=8, backward=8, update=3, rounds=6), 43),
        (5, 8, llm_judge, wg.per_node, Cost(forward=40, judge=8, backward=40, update=5, rounds=12), 93),
        (5, 8, llm_judge, wg.fused, Cost(forward=40, judge=8, backward=8, update=5, rounds=8), 61),
        (5, 8, half_fail, wg.per_node, Cost(forward=40, judge=0, backward=20, update=5, rounds=11), 65),
        (5, 8, half_fail, wg.fused, Cost(forward=40, judge=0, backward=4, update=5, rounds=7), 49),
        # TextGrad: 10 backward calls.
        (2, 5, all_pass, wg.per_node, Cost(forward=10, judge=0, backward=0, update=0, rounds=2), 10),
    ],
)
def test_one_step_costs(k: int, b: int, losses: Losses, strategy: object, expected: Cost, calls: int) -> None:
    """A step costs bk forward calls, a call for each judgement, ek (or e) critics and one call for each prompt."""
    found = cost(k, b, losses, strategy)

    assert (found, found.calls) == (expected, calls)
    assert found.rounds <= 2 * k + 2


def test_only_the_trained_prompt_is_paid_for() -> None:
    """With the second of two prompts in training, backward is one call (TextGrad: 3)."""
    model, second = Model(), prompt("Then this.")
    draft = wg.BlackboxLLM(model, wg.Variable("First this.", "system prompt"))("What?")

    with wg.backward_engine(model):
        wg.TextLoss("Is it true?", model)(wg.BlackboxLLM(model, second)(draft)).backward()

    assert model.count("backward") == 1


def test_the_optimizer_sees_the_prompt_once() -> None:
    """At b=8 the optimizer gets one copy of the prompt (TextGrad: 8) and at most 1,500 characters beside the records."""
    value = " ".join(f"Rule {n}: say nothing twice." for n in range(16))
    model, system = Model(), prompt(value)
    answer = wg.BlackboxLLM(model, system)

    with wg.backward_engine(model):
        wg.backward(llm_judge(model, [answer(f"question {n}") for n in range(8)]))
        wg.TGD([system]).step()

    (sent,) = [call.request for call in model.history if call.request.purpose == "optimize"]
    text = "\n".join(message.text for message in sent.messages)
    (records,) = re.findall(r"<(feedback-[0-9a-f]+)>\n(.*?)\n</\1>", text, re.DOTALL)
    assert text.count(value) == 1
    assert records[1].count("- Be exact.") == 8
    assert len(text) - len(value) - len(records[1]) <= 1_500
