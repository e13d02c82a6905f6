"""The public API as a type checker sees it. Never run: `make lint` checks it with mypy --strict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

from pydantic import BaseModel

import wordgrad as wg
from wordgrad.optim.proposal import Proposal, StepResult


class City(BaseModel):
    """A structured reply."""

    name: str


class MyEngine:
    """An engine is what has these members; it inherits nothing."""

    name = "mine"
    endpoint = "here"
    model = "m"
    capabilities = wg.Capabilities(schema=True)
    price = None
    max_in_flight = 4

    async def complete(self, request: wg.Request) -> wg.Completion:
        """Answer."""
        return wg.Completion(text=request.messages[-1].text, finish="stop")

    def count_tokens(self, text: str) -> int:
        """Characters."""
        return len(text)


engine: wg.Engine = MyEngine()
wg.set_backward_engine("local", override=True)
wg.set_backward_engine(engine)
assert_type(wg.get_engine("gpt-4o"), wg.Engine)

# ---- variables

prompt = wg.Variable("You summarise articles.", role_description="system prompt", requires_grad=True)
positional = wg.Variable("You summarise articles.", "system prompt", True, name="prompt", constraints=["polite"])
data = wg.Variable({"pages": [1, 2]})
assert_type(prompt.value, Any)
assert_type(prompt.text, str)
assert_type(prompt.score, float | None)
assert_type(prompt.gradients, tuple[wg.Gradient, ...])
assert_type(prompt.predecessors, tuple[wg.Variable, ...])
assert_type(prompt + "text", wg.Variable)
assert_type("text" + prompt, wg.Variable)
assert_type(data["pages"][0], wg.Variable)
assert_type(prompt.detach(), wg.Variable)
prompt.value = "Another."
prompt.accumulate_grad("Too long.")
prompt.accumulate_grad(wg.Gradient(text="Too long.", severity=3))
photo = wg.Variable(wg.Image(Path("photo.png")))

# ---- calls

llm = wg.BlackboxLLM(engine, prompt, options=wg.Sampling(max_tokens=64, stop=("\n",)))
assert_type(llm.parameters(), list[wg.Variable])
llm.load_state_dict(llm.state_dict())
answer = wg.llm_call(prompt, "What?", engine="local", schema=City, sample=1)
assert_type(answer, wg.Variable)
wg.llm_call(None, [photo, "What is shown?"], engine=engine)
wg.llm_call(None, [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": answer}], engine=engine)
assert_type(wg.LLMCall(engine)("Hello", prompt, example=7), wg.Variable)
wg.FormattedLLMCall(engine, "Be {tone}: {text}", slots={"tone": prompt})(text="x")
wg.MultimodalLLMCall(engine)([wg.Image(b""), "What is shown?"])


@wg.function
def search(query: str, *, limit: int = 3) -> list[str]:
    """A tool."""
    return [query] * limit


@wg.function(rule="critic", on_error="feedback", pure=True, exclusive=True, description="counts")
async def count(text: str) -> int:
    """An async tool."""
    return len(text)


assert_type(search(answer, limit=2), wg.Variable)
assert_type(count("text", example="row 1"), wg.Variable)
assert_type(wg.format("{a}", a=answer), wg.Variable)
assert_type(wg.join([answer, "text"], " "), wg.Variable)
assert_type(wg.map(len, ["a", "b"]), list[int])
assert_type(wg.map(engine.complete, [wg.Request(messages=())]), list[wg.Completion])


class Chain(wg.Module):
    """A program."""

    def __init__(self) -> None:
        self.draft = wg.BlackboxLLM(engine, prompt)

    def forward(self, topic: str) -> wg.Variable:
        """Draft twice."""
        first: wg.Variable = self.draft(topic)
        second: wg.Variable = self.draft(first)
        return second


# ---- losses


def exact(output: str, target: str) -> bool:
    """The same."""
    return output == target


def scored(output: str, target: str) -> tuple[float, str]:
    """How near."""
    return 0.5, "Nearly."


async def slow(output: str, target: str) -> wg.Score:
    """Ask a service."""
    return wg.Score(value=None, feedback="not there")


judge = wg.TextLoss("Is it short?", engine)
losses = wg.objectives(
    short=judge,
    right=wg.MetricLoss(exact),
    near=wg.MetricLoss(scored, bounds=(0, 1), higher_is_better=True, passing=0.9),
    slow=wg.MetricLoss(slow),
    good=wg.JudgeLoss("Short: 1.", passing=0.8),
)
loss = judge(answer, "target", context="question", example=1)
assert_type(loss, wg.Variable)
assert_type(losses(answer), wg.Variable)
loss.backward()
loss.backward(strategy=wg.fused, retain_graph=True)
answer.backward("Too long.")
answer.backward(["Too long.", wg.Gradient(text="Too rude.")])
wg.backward([loss, loss], strategy=wg.per_edge)
wg.sum([loss, loss]).backward(strategy=wg.per_node)
assert_type(wg.to_mermaid(loss), str)


# ---- steps


def choose(proposals: Sequence[Proposal]) -> Proposal | None:
    """The first."""
    return proposals[0]


optimizer = wg.TextualGradientDescent(
    parameters=Chain().parameters(),
    engine="local",
    constraints=[
        "It stays polite.",
        wg.MaxTokens(100),
        wg.MaxCharacters(400),
        wg.KeepSlots("question"),
        wg.ParsesAs("json"),
        wg.MatchesSchema(list[int]),
        wg.Predicate(str.isascii, "It is ASCII."),
    ],
    in_context_examples=["Be brief."],
    momentum=2,
    candidates=4,
    select=choose,
)
optimizer.zero_grad()
assert_type(optimizer.step(), StepResult)
assert_type(optimizer.propose(), list[Proposal])
optimizer.load_state_dict(optimizer.state_dict())
wg.TGD({"prompt": prompt})

with wg.Run("store.db", seed=3, budget=wg.Budget(calls=10), cache=True) as run, wg.eager(), wg.no_grad():
    assert_type(run.usage.calls, int)
with wg.backward_engine("gpt-4o"):
    pass


async def in_async_code() -> None:
    """The same, awaited."""
    assert_type(await answer, wg.Variable)
    assert_type(await wg.amap(len, ["a", "b"]), list[int])
    assert_type(await wg.amap(engine.complete, [wg.Request(messages=())]), list[wg.Completion])
    await loss.abackward()
    await wg.abackward([loss])
    assert_type(await optimizer.astep(), StepResult)
    assert_type(await optimizer.apropose(), list[Proposal])


# ---- what a checker must refuse (an ignore that is not needed is an error)

wg.Variable("text", requires_grad="yes")  # type: ignore[arg-type]
wg.Sampling(64)  # type: ignore[call-arg]
wg.function(rule="guess")  # type: ignore[call-overload]
wg.MetricLoss(len)  # type: ignore[arg-type]
wg.TGD([prompt], candidates="4")  # type: ignore[arg-type]
loss.score = 3  # type: ignore[misc]
