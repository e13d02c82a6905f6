"""What a step does, and what it never does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest

from optim_engine import Engine, in_turn, json_reply, marked_reply
from wordgrad import Budget, Gradient, Run, Variable
from wordgrad.errors import BudgetExceeded, EngineError, ProposalRejected, UsageError
from wordgrad.optim.base import Optimizer
from wordgrad.optim.constraints import KeepSlots, MaxCharacters
from wordgrad.optim.one_shot import OneShotRewrite
from wordgrad.optim.proposal import Proposal, StepResult
from wordgrad.optim.tgd import TGD
from wordgrad.types import Completion, Request, Sampling


def prompt(value: object = "You summarise {article}.", **more: object) -> Variable:
    """A parameter with one gradient."""
    made = Variable(value, "system prompt of the summariser", True, **more)  # type: ignore[arg-type]
    made.accumulate_grad("Keep the figures.")
    return made


def test_a_step_writes_the_new_value() -> None:
    """The reply's value replaces the parameter's, in one call, and the version counts up."""
    engine, system = Engine(in_turn(json_reply("Keep all figures."))), prompt()

    result = TGD([system], engine=engine).step()

    assert result == StepResult(applied=True, calls=1)
    assert (system.value, system.version) == ("Keep all figures.", 1)


def test_an_engine_without_schemas_writes_between_marks() -> None:
    """Where the engine has no schemas the value stands between marks, and text around it is ignored."""
    engine = Engine(lambda request: "Sure!\n" + marked_reply(request, "Keep <all> figures."), schema=False)
    system = prompt()

    result = TGD([system], engine=engine).step()

    assert result == StepResult(applied=True, calls=1)
    assert system.value == "Keep <all> figures."
    assert engine.seen[0].schema is None


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I'm sorry, I can't help with that.", "p1: the reply is not one JSON value"),
        ("", "p1: the reply is not one JSON value"),
        ("TERMINATE", "p1: the reply is not one JSON value"),
        (json_reply(" \n"), "p1: the new text is empty"),
        (json_reply("You summarise {article}."), "p1: the new text is the current text"),
        (json_reply("lone \ud800"), "p1: the JSON does not fit: the whole reply: Invalid JSON"),
        (Completion(text=json_reply("ok"), finish="length"), "p1: the reply was cut off"),
        (Completion(text=json_reply("ok"), finish="refusal"), "p1: the model refused"),
    ],
)
def test_an_unusable_reply_is_a_reason(reply: str | Completion, reason: str) -> None:
    """After one repair an unusable reply is a rejected step that says why; the value stays."""
    engine, system = Engine(in_turn(reply)), prompt()

    result = TGD([system], engine=engine).step()

    assert (result.applied, result.calls) == (False, 2)
    assert result.reasons[0].startswith(reason)
    assert (system.value, system.version) == ("You summarise {article}.", 0)


def test_half_a_character_is_no_value() -> None:
    """A text that no encoding can carry never becomes the value, though the marks stand around it."""
    engine = Engine(lambda request: marked_reply(request, "lone \ud800"), schema=False)
    result = TGD([prompt()], engine=engine).step()

    assert result.reasons == ("p1: the new text holds a lone surrogate at 5, which no encoding can carry",)


def test_one_repair() -> None:
    """The repair shows the reply and what is wrong with it; a good second reply is the value."""
    engine, system = Engine(in_turn(json_reply("no"), json_reply("Sum up {article}."))), prompt()

    result = TGD([system], engine=engine, constraints=[KeepSlots("article")]).step()

    assert result == StepResult(applied=True, calls=2)
    assert system.value == "Sum up {article}."
    assert engine.seen[1].messages[-2].text == json_reply("no")
    assert "the placeholder {article} stands in it 0 times instead of 1" in engine.prompts[1]


def test_all_or_none() -> None:
    """One rejected parameter rejects the whole step."""
    first, second = prompt("first"), prompt("second", constraints=[MaxCharacters(3)])

    result = TGD([first, second], engine=Engine(in_turn(json_reply("longer")))).step()

    assert result == StepResult(applied=False, reasons=("p2: it has 6 characters; at most 3 are allowed",), calls=3)
    assert (first.value, second.value) == ("first", "second")


def test_no_gradients_no_call() -> None:
    """Without feedback nothing is asked and nothing changes; so no engine is needed."""
    system = prompt()
    system.zero_grad()

    assert TGD([system]).step() == StepResult(applied=False, reasons=("no gradients: nothing to change",))
    assert TGD([system]).propose() == []


def test_only_what_has_feedback_is_rewritten() -> None:
    """A parameter without gradients costs no call and stays; so does one that was frozen."""
    engine, blamed, fine, frozen = Engine(in_turn(json_reply("new"))), prompt(), prompt("fine"), prompt("frozen")
    fine.zero_grad()
    optimizer = TGD({"blamed": blamed, "fine": fine, "frozen": frozen}, engine=engine)
    frozen.requires_grad = False

    result = optimizer.step()

    assert result == StepResult(applied=True, calls=1)
    assert [each.value for each in (blamed, fine, frozen)] == ["new", "fine", "frozen"]


def test_a_stale_proposal_is_refused() -> None:
    """A proposal made against an older version of a value is refused; two optimizers on one Variable are safe."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt()
    mine, other = TGD([system], engine=engine), TGD([system], engine=engine)
    (stale,) = mine.propose()
    other.step()

    with pytest.raises(ProposalRejected, match="p1: its value was replaced since"):
        mine.apply(stale)

    assert (system.value, system.version) == ("new", 1)


def test_a_parameter_frozen_since_is_not_written() -> None:
    """`apply()` refuses to write what no longer requires grad."""
    system = prompt()
    optimizer = TGD([system], engine=Engine(in_turn(json_reply("new"))))
    (proposal,) = optimizer.propose()
    system.requires_grad = False

    with pytest.raises(ProposalRejected, match="no longer requires grad"):
        optimizer.apply(proposal)


def test_an_unusable_proposal_cannot_be_applied() -> None:
    """`propose()` returns unusable candidates with their reasons; `apply()` refuses them."""
    system = prompt()
    optimizer = TGD([system], engine=Engine(in_turn("no")))
    (proposal,) = optimizer.propose()

    with pytest.raises(ProposalRejected) as refused:
        optimizer.apply(proposal)

    assert refused.value.reasons == proposal.reasons != ()
    assert proposal.values == {}


def test_candidates_need_select() -> None:
    """Several candidates without `select=` are an error of the caller, before any call."""
    engine = Engine(in_turn(json_reply("new")))

    with pytest.raises(UsageError, match="needs select="):
        TGD([prompt()], engine=engine, candidates=2).step()
    assert engine.seen == []


def test_select_picks_among_the_usable() -> None:
    """`select` gets the usable proposals in order, on the caller's thread; what it picks is applied."""
    offered: list[tuple[int, ...]] = []

    def rule(request: Request) -> str:
        return "no" if request.sample[2] == 1 else json_reply(f"value {request.sample[2]}")

    def select(proposals: list[Proposal]) -> Proposal:
        offered.append(tuple(each.candidate for each in proposals))
        return proposals[-1]

    system = prompt()
    result = TGD([system], engine=Engine(rule), candidates=3, select=select).step()

    assert offered == [(0, 2)]
    assert (result.applied, result.calls, system.value) == (True, 4, "value 2")


def test_select_may_choose_none() -> None:
    """Where `select` picks nothing, nothing changes."""
    system = prompt()

    result = TGD([system], engine=Engine(in_turn(json_reply("new"))), select=lambda _: None).step()

    assert result == StepResult(applied=False, reasons=("select chose none of the proposals",), calls=1)


def test_select_that_raises_changes_nothing() -> None:
    """A fault in the user's own code is raised as it is; values and gradients stay, and the step can be made again."""
    system, chosen = prompt(), iter([ValueError("my own bug")])

    def select(proposals: list[Proposal]) -> Proposal:
        for error in chosen:
            raise error
        return proposals[0]

    before = (system.value, system.version, system.gradients)
    optimizer = TGD([system], engine=Engine(in_turn(json_reply("new"))), select=select)
    with pytest.raises(ValueError, match="my own bug"):
        optimizer.step()

    assert (system.value, system.version, system.gradients) == before
    assert optimizer.step().applied


async def first(proposals: list[Proposal]) -> Proposal:
    """Pick the first, after other tasks had a turn."""
    await anyio.lowlevel.checkpoint()
    return proposals[0]


@pytest.mark.parametrize("select", [first, lambda proposals: _Ready(proposals[0])])
def test_step_cannot_await(select: object) -> None:
    """`step()` refuses a `select` that must be awaited, and names `astep()`."""
    system = prompt()

    with pytest.raises(UsageError, match="astep"):
        TGD([system], engine=Engine(in_turn(json_reply("new"))), select=select).step()  # type: ignore[arg-type]
    assert system.version == 0


class _Ready:
    """An awaitable that is no coroutine."""

    def __init__(self, value: Proposal) -> None:
        self.value = value

    def __await__(self) -> Iterator[object]:
        return self.value
        yield


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_async_step(anyio_backend: str) -> None:
    """`apropose()` and `astep()` are the same for async code; `astep()` awaits `select`."""
    system = prompt()
    optimizer = TGD([system], engine=Engine(in_turn(json_reply("new"))), select=first)
    proposals = await optimizer.apropose()
    result = await optimizer.astep()

    assert result == StepResult(applied=True, calls=1)
    assert proposals[0].values == {"p1": "new"}


def test_a_dead_engine_raises() -> None:
    """What the world did wrong is raised, not a reason; no value changes."""

    def rule(_: Request) -> str:
        raise EngineError("the server said no", retryable=False, status=401)

    system = prompt()

    with pytest.raises(EngineError, match="the server said no"):
        TGD([system, prompt("other")], engine=Engine(rule)).step()
    assert system.version == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([], "at least one parameter"),
        ({prompt()}, "a set"),
        (prompt(), r"pass \[variable\]"),
        (["text"], "'text' among the parameters is no Variable"),
        ([prompt(name="a"), prompt(name="a")], "twice"),
    ],
)
def test_parameters_are_checked(parameters: object, message: str) -> None:
    """No parameters, a set, a lone Variable, a stranger, a name twice: each error says what to pass."""
    with pytest.raises(UsageError, match=message):
        TGD(parameters)  # type: ignore[arg-type]


def test_a_computed_value_becomes_a_leaf() -> None:
    """Giving an output to an optimizer makes it a parameter: its history is gone, and it requires grad."""
    answer = Variable("a draft", "draft") + " of mine"

    TGD([answer])

    assert (answer.value, answer.requires_grad, answer.grad_fn) == ("a draft of mine", True, None)


def test_a_json_value_stays_json() -> None:
    """A structured value is shown as JSON, and only JSON replaces it."""
    replies = in_turn(json_reply("not json"), json_reply('{"tone": "warm"}'))
    style = prompt({"tone": "cold"})

    result = TGD([style], engine=Engine(replies)).step()

    assert result == StepResult(applied=True, calls=2)
    assert style.value == {"tone": "warm"}


@pytest.mark.parametrize("written", ['{"tone": NaN}', '{"tone": 1e999}', '{"tone": 1, "tone": 2}'])
def test_what_json_does_not_have_is_no_value(written: str) -> None:
    """Numbers without end and keys that stand twice reject the step, and no other value is written either."""
    engine = Engine(lambda request: json_reply(written if "cold" in f"{request.messages}" else "Be warm."))
    system, style = prompt("Be brief.", name="system"), prompt({"tone": "cold"}, name="style")

    result = TGD([system, style], engine=engine).step()

    assert not result.applied
    assert result.reasons[0].startswith("style: the value is JSON, and the new text is not: ")
    assert (system.value, style.value) == ("Be brief.", {"tone": "cold"})


def test_two_gradients_of_one_value_are_one_call() -> None:
    """A step costs one call for each parameter, however much feedback there is."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt()
    for example in range(8):
        system.accumulate_grad(Gradient(text=f"change {example}", example=str(example), objective="good"))

    TGD([system], engine=engine).step()

    assert len(engine.seen) == 1


def test_state_goes_on_elsewhere() -> None:
    """The state is JSON; an optimizer that loads it goes on with the next step and the same history."""
    replies = in_turn(json_reply("one"), json_reply("two"), json_reply("two"))
    engine, system = Engine(replies), prompt()
    first = TGD([system], engine=engine, momentum=2)
    first.step()
    second = TGD([system], engine=engine, momentum=2)
    second.load_state_dict(first.state_dict())

    second.propose()
    first.propose()

    assert engine.seen[1] == engine.seen[2]
    assert second.state_dict() == first.state_dict()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"steps": 1},
        {"steps": "1", "history": {}},
        {"steps": 1, "history": {"other": []}},
        {"steps": 1, "history": 3},
    ],
)
def test_a_wrong_state_is_refused(state: dict[str, object]) -> None:
    """What is no state of this optimizer is an error, and changes nothing."""
    optimizer = TGD([prompt()])

    with pytest.raises(UsageError):
        optimizer.load_state_dict(state)  # type: ignore[arg-type]
    assert optimizer.state_dict() == {"steps": 0, "history": {}}


def test_the_control_sees_failures_only() -> None:
    """A one-shot rewrite is shown input, output and what was wanted; neither critique nor history."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt()
    evidence = Gradient(text="CRITIQUE", feedback="JUDGED", input="IN", output="OUT", expected="WANTED", example="1")
    system.zero_grad()
    system.accumulate_grad(evidence)
    optimizer: Optimizer = OneShotRewrite([system], engine=engine, momentum=3)
    optimizer.step()
    optimizer.step()

    shown = engine.prompts[1]

    assert all(word in shown for word in ("IN", "OUT", "WANTED"))
    assert not any(word in shown for word in ("CRITIQUE", "JUDGED", "You summarise"))


def test_the_control_draws_other_failures_for_each_candidate() -> None:
    """Candidates of the control are independent: other failures, and another sample index."""
    engine, system = Engine(in_turn(json_reply("new"))), prompt()
    for number in range(6):
        system.accumulate_grad(Gradient(text="failed", input=f"case {number}", example=str(number)))

    OneShotRewrite([system], engine=engine, candidates=4).propose()

    assert len({request.messages for request in engine.seen}) == 4
    assert [request.sample for request in sorted(engine.seen, key=lambda each: each.sample)] == [
        (0, 0, number) for number in range(4)
    ]


def test_a_value_changed_while_choosing_is_not_overwritten() -> None:
    """Where `select` itself replaces the value, the step is refused with the reason; nothing raises."""
    system = prompt()

    def select(proposals: list[Proposal]) -> Proposal:
        system.value = "mine"
        return proposals[0]

    result = TGD([system], engine=Engine(in_turn(json_reply("new"))), select=select).step()

    assert (result.applied, result.reasons) == (False, ("p1: its value was replaced since the proposal was made",))
    assert system.value == "mine"


@pytest.mark.parametrize("options", [{"candidates": 0}, {"momentum": -1}, {"feedback_tokens": 0}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    """Numbers that mean nothing fail where they are written."""
    with pytest.raises(UsageError, match="needed are"):
        TGD([prompt()], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", [True, False])
def test_the_prompts_own_marks_are_no_value(schema: bool) -> None:
    """A text that copies the marks around a section of the prompt is no value: they would look like ours the next time."""

    def copying(request: Request) -> str:
        shown = "\n".join(message.text for message in request.messages)
        mark = re.findall(r"</(current-[0-9a-f]+)>", shown)[0]
        text = f"a </{mark}> b"
        return json_reply(text) if schema else marked_reply(request, text)

    system = prompt()
    result = TGD([system], engine=Engine(copying, schema=schema)).step()

    assert result.reasons == ("p1: the new text holds the marks that stand around texts in the prompt",)
    assert system.version == 0


def test_an_empty_budget_raises() -> None:
    """A spent budget is not what a model wrote: `step()` raises it, and the value stays."""
    system = prompt()

    with Run(budget=Budget(calls=0)), pytest.raises(BudgetExceeded):
        TGD([system], engine=Engine(in_turn(json_reply("new")))).step()
    assert system.version == 0


def test_a_dead_engine_raises_while_grouping() -> None:
    """An outage while feedback is grouped raises the engine's error as it is."""

    def rule(_: Request) -> str:
        raise EngineError("the server said no", retryable=False, status=401)

    system = prompt()
    for number in range(20):
        system.accumulate_grad(Gradient(text=f"change {number}", example=str(number)))

    with pytest.raises(EngineError, match="the server said no"):
        TGD([system], engine=Engine(rule), feedback_tokens=20).step()


def test_feedback_that_a_server_refuses_to_group_stands_for_itself() -> None:
    """As much of it as fits; it is rewritten from that."""

    def rule(request: Request) -> str:
        if "Groups: at most" in request.messages[-1].text:
            raise EngineError("a content filter stopped this", retryable=False, status=400)
        return json_reply("new")

    engine, system = Engine(rule), prompt()
    for number in range(20):
        system.accumulate_grad(Gradient(text=f"change {number}", example=str(number)))

    assert TGD([system], engine=engine, feedback_tokens=60).step().applied
    assert "- change 0" in engine.prompts[-1]


def most_tokens(engine: Engine) -> int:
    """Of the longest request, with its reply."""
    return max(
        sum(engine.count_tokens(each.text) for each in request.messages) + request.sampling.max_tokens
        for request in engine.seen
    )


def test_one_record_longer_than_the_context() -> None:
    """Feedback whose input and output are each longer than the engine's context is shortened, marked, and fits."""
    engine, system = Engine(in_turn(json_reply("new")), context_tokens=4_000), prompt()
    system.zero_grad()
    system.accumulate_grad(Gradient(text="Be brief.", input="in " * 9_000, output="out " * 9_000))

    assert TGD([system], engine=engine).step() == StepResult(applied=True, calls=1)
    assert "- Be brief." in engine.prompts[0]
    assert engine.prompts[0].count("characters left out") == 2
    assert most_tokens(engine) <= 4_000


def test_much_feedback_is_grouped_within_the_context() -> None:
    """Each prompt that asks for groups fits the engine's context, though its records together are longer."""

    def rule(request: Request) -> str:
        numbers = [int(each) for each in re.findall(r"^record (\d+)$", request.messages[-1].text, re.MULTILINE)]
        if "Groups: at most" in request.messages[-1].text:
            return json.dumps({"groups": [{"change": "Be brief.", "records": numbers}]})
        return json_reply("new")

    engine, system = Engine(rule, context_tokens=4_000), prompt()
    for number in range(36):
        system.accumulate_grad(Gradient(text=f"Cut part {number}.", input="in " * 900, example=str(number)))
    result = TGD([system], engine=engine).step()

    assert (result.applied, result.calls) == (True, 7)
    assert re.findall(r"seen: (\d) times", engine.prompts[-1]) == ["7", "7"]
    assert "(4 more records left out)" in engine.prompts[-1]
    assert most_tokens(engine) <= 4_000


@pytest.mark.parametrize(("context_tokens", "calls"), [(6_000, 2), (2_500, 1)])
def test_a_repair_fits_the_context(context_tokens: int, calls: int) -> None:
    """Of a long reply the repair shows what the context has room for; where it has none there is no repair."""
    engine = Engine(in_turn("no json " * 1_000), context_tokens=context_tokens)
    system = prompt("Be brief.")
    for number in range(40):
        system.accumulate_grad(Gradient(text=f"change {number} " * 20, example=str(number)))

    result = TGD([system], engine=engine, options=Sampling(max_tokens=2_048)).step()

    assert (result.applied, result.calls) == (False, calls)
    assert all(_tokens(engine, request) <= context_tokens for request in engine.seen)


def _tokens(engine: Engine, request: Request) -> int:
    return sum(engine.count_tokens(each.text) for each in request.messages) + request.sampling.max_tokens


def test_feedback_that_no_prompt_groups() -> None:
    """Where not even the shortest records fit a prompt that asks for groups, nobody is asked: the best of them stand."""
    engine, system = Engine(in_turn(json_reply("new")), context_tokens=2_700), prompt()
    for number in range(400):
        system.accumulate_grad(Gradient(text=f"Cut part {number}.", input="in " * 900, example=str(number)))
    result = TGD([system], engine=engine).step()

    assert (result.applied, result.calls) == (True, 1)
    assert re.search(r"\((39\d|400) more records left out\)", engine.prompts[0])
    assert most_tokens(engine) <= 2_700


def test_results_compare_by_what_they_say() -> None:
    """A StepResult equals another with the same facts; the proposals ride along."""
    result = TGD([prompt()], engine=Engine(in_turn(json_reply("new")))).step()

    assert result == replace(result, proposals=())
    assert [each.values for each in result.proposals] == [{"p1": "new"}]
