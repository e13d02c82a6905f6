"""What people get wrong in their first hour: each is told at once, in words that are enough to go on."""

from __future__ import annotations

import re
from collections.abc import Callable

import anyio
import pytest

import wordgrad as wg
from engines import Model, prompt
from goldens import check_golden
from wordgrad.errors import GraphError, NodeError, UsageError, WordgradError


def model() -> wg.BlackboxLLM:
    """A model with a prompt to train."""
    return wg.BlackboxLLM(engine=Model(), system_prompt=prompt())


def judged(output: wg.Variable | str) -> wg.Variable:
    """A loss of an output."""
    return wg.TextLoss("Is it short?", engine=Model())(output)


@wg.function(rule="pass_through", pure=True)
def upper(text: str) -> str:
    """A plain function."""
    return text.upper()


def without_await() -> None:
    """Blocking calls where an event loop runs."""

    async def main() -> None:
        judged(model()("question")).backward()

    anyio.run(main)


def twice() -> None:
    """A second backward pass from one loss."""
    with wg.backward_engine(Model()):
        loss = judged(model()("question"))
        loss.backward()
        loss.backward()


def untyped(callable_: Callable[..., object], *given: object, **named: object) -> Callable[[], object]:
    """A call that a type checker would refuse."""
    return lambda: callable_(*given, **named)


def eight() -> None:
    """Training with few validation rows, of which half are sealed."""
    rows = [{"input": f"word {number}", "target": "WORD"} for number in range(12)]
    trainer = wg.Trainer(
        lambda variables, row: wg.llm_call(variables["prompt"], row["input"], engine=Model()),
        lambda output, target: output == target,
        variables={"prompt": prompt()},
        plan=wg.Plan(critic=Model()),
    )
    trainer.fit(rows[:4], rows[4:])


MISTAKES: dict[str, tuple[Callable[[], object], type[WordgradError], list[str]]] = {
    "no role": (lambda: wg.Variable("x", requires_grad=True), UsageError, ["role_description", 'pass ""']),
    "a role that is no text": (
        untyped(wg.Variable, "x", 5),
        UsageError,
        ["role_description=5", "what the value is for"],
    ),
    "nothing to train": (
        lambda: judged(wg.BlackboxLLM(engine=Model(), system_prompt=wg.Variable("x", "prompt"))("q")).backward(),
        GraphError,
        ["requires_grad=True", "nearest Variable"],
    ),
    "a text as the prompt": (
        lambda: judged(wg.BlackboxLLM(engine=Model(), system_prompt="x")("q")).backward(),
        GraphError,
        ["requires_grad=True", "'x'"],
    ),
    "a text among the parameters": (untyped(wg.TGD, ["x"], engine=Model()), UsageError, ["'x'", "wordgrad.Variable("]),
    "one Variable as the parameters": (untyped(wg.TGD, prompt(), engine=Model()), UsageError, ["pass [variable]"]),
    "an f-string of a prompt": (lambda: f"{prompt()}", UsageError, ["{v.value}", "wordgrad.format"]),
    "== with a text": (lambda: prompt() == "x", UsageError, ["Compare its .value"]),
    "the truth of a Variable": (lambda: bool(prompt()), UsageError, ["test its .value"]),
    "no engine for the judge": (
        lambda: wg.TextLoss("Is it short?")(model()("q")),
        UsageError,
        ["wordgrad.set_backward_engine", "engine="],
    ),
    "no await": (without_await, UsageError, ["await loss.abackward()"]),
    "backward twice": (twice, GraphError, ["run forward again", "retain_graph=True"]),
    "a forgotten loss": (lambda: upper(prompt()).backward(), GraphError, ["pass it to a loss", "output.backward("]),
    "backward from a text": (
        untyped(wg.backward, ["too long"]),
        UsageError,
        ["'too long'", "backward([output], feedback)"],
    ),
    "backward from the prompt itself": (lambda: prompt().backward("bad"), GraphError, ["accumulate_grad()"]),
    "several candidates and no choice": (
        lambda: wg.TGD([trained()], engine=Model(), candidates=3).step(),
        UsageError,
        ["select=", "propose()"],
    ),
    "an engine's class": (
        untyped(wg.llm_call, None, "q", engine=Model),
        UsageError,
        ["pass an instance", "Model("],
    ),
    "an engine that is none": (
        untyped(wg.llm_call, None, "q", engine=object()),
        UsageError,
        ["is no engine", '"local"'],
    ),
    "an address that is none": (lambda: wg.get_engine("openai:m@localhost:80"), UsageError, ["http://host:port/v1"]),
    "few validation rows": (eight, UsageError, ["give at least 10 validation rows", 'rule = "lenient"']),
    "a metric of one argument": (untyped(wg.MetricLoss, lambda output: 1.0), UsageError, ["(output, target)"]),
    "a metric that says words alone": (
        lambda: wg.MetricLoss(lambda output, target: "good")(model()("q"), "t").value,  # type: ignore[arg-type]
        NodeError,
        ["return a number, a bool, a Score, or (number, feedback)"],
    ),
    "a score outside its bounds": (
        lambda: wg.MetricLoss(lambda output, target: 7.0)(model()("q"), "t").value,
        NodeError,
        ["bounds=(0.0, 1.0)"],
    ),
}


def trained() -> wg.Variable:
    """A prompt with feedback."""
    made = prompt()
    made.accumulate_grad("Be brief.")
    return made


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wordgrad.engines.defaults._process", [])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told(mistake: str) -> None:
    """The error is of the right kind, and its words say what was wrong and what to write."""
    act, kind, words = MISTAKES[mistake]

    with pytest.raises(kind) as caught:
        act()

    assert [each for each in words if each not in str(caught.value)] == []


def test_the_messages_are_whole() -> None:
    """Each message reads exactly as in the golden file; WORDGRAD_GOLDEN=write writes it anew."""
    told = []
    for mistake, (act, kind, _) in MISTAKES.items():
        with pytest.raises(kind) as caught:
            act()
        # Whether the judge has answered yet is a matter of time.
        message = str(caught.value).replace("'It is wrong.'", "<pending>")
        told.append(f"{mistake}\n    {kind.__name__}: {re.sub(' at 0x[0-9a-f]+', '', message)}\n")

    check_golden("mistakes.txt", "\n".join(told))


def test_a_step_without_feedback_says_so() -> None:
    """A forgotten backward() is no error of a step, which says that there was nothing to do."""
    assert wg.TGD([prompt()], engine=Model()).step().reasons == ("no gradients: nothing to change",)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of the environment stands in the error."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    specs: list[tuple[str, str]] = [("gpt-4o", "OPENAI_API_KEY"), ("anthropic:claude-x", "ANTHROPIC_API_KEY")]
    for spec, name in specs:
        with pytest.raises(UsageError, match=f"set {name}"):
            wg.get_engine(spec)
