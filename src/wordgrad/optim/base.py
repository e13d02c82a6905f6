"""What every optimizer shares: propose, then apply. Nothing that a model writes becomes a value unchecked."""

from __future__ import annotations

import functools
import inspect
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from wordgrad import context, dispatch
from wordgrad.core.variable import Variable
from wordgrad.engines import get_engine
from wordgrad.engines.defaults import resolve
from wordgrad.errors import ProposalRejected, UsageError
from wordgrad.optim.author import Job, Round, write
from wordgrad.optim.constraints import Constraint, checked
from wordgrad.optim.history import History, Past
from wordgrad.optim.proposal import Proposal, StepResult
from wordgrad.prompts import Asked, Work
from wordgrad.types import JSON, Engine, Index, Sampling

Choice: TypeAlias = Proposal | None
Select: TypeAlias = Callable[[Sequence[Proposal]], Choice | Awaitable[Choice]]
"""Picks one of the usable proposals, or none of them. It may run the program; only `astep()` can await it."""

_AWAIT = "select= must be awaited: use `await optimizer.astep()`"


class Optimizer(ABC):
    """The base of the optimizers.

    Args:
        parameters: Variables in a fixed order, or by name. What is computed becomes a leaf (`Variable.make_leaf`).
        engine: Who rewrites; the default backward engine where None, taken when proposals are asked for.
        constraints: Text, or `Constraint`s, for every parameter; a Variable's own come on top.
        in_context_examples: Values of the kind that is wanted.
        momentum: How many past steps the prompt shows.
        candidates: How many proposals are made from the same gradients.
        select: Picks one of several usable proposals in `step()`.
        seed: Of all that is random, outside a run; inside one the run's seed holds.
        options: Limits and sampling; by default the reply may be twice as long as the value, and at least 2,048 tokens.
        feedback_tokens: Above this much feedback on one parameter, or above what the engine's context holds, it is
            grouped by requested change.
        edit_above: A value of more characters is changed in places (search and replace), and not written anew.

    Raises:
        UsageError: No parameters, one without a fixed place or name, or several candidates and no `select` in `step()`.
    """

    def __init__(
        self,
        parameters: Iterable[Variable] | Mapping[str, Variable],
        engine: str | Engine | None = None,
        *,
        constraints: Sequence[str | Constraint] = (),
        in_context_examples: Sequence[str] = (),
        momentum: int = 0,
        candidates: int = 1,
        select: Select | None = None,
        seed: int = 0,
        options: Sampling | None = None,
        feedback_tokens: int = 6_000,
        edit_above: int = 8_000,
    ) -> None:
        if candidates < 1 or momentum < 0 or feedback_tokens < 1:
            raise UsageError(f"{candidates=}, {momentum=}, {feedback_tokens=}: needed are >= 1, >= 0 and >= 1")
        if isinstance(in_context_examples, str):
            raise UsageError(f"in_context_examples={in_context_examples!r} is one text: pass [{in_context_examples!r}]")
        self.parameters = _named(parameters)
        self.engine = None if engine is None else get_engine(engine)
        self.constraints = checked(constraints, of="the optimizer")
        self.in_context_examples = tuple(in_context_examples)
        self.history = History(momentum)
        self.candidates = candidates
        self.select = select
        self.seed = seed
        self.options = options
        self.feedback_tokens = feedback_tokens
        self.edit_above = edit_above
        self.steps = 0
        for variable in self.parameters.values():
            variable.make_leaf()

    @abstractmethod
    def ask(self, work: Work, *, candidate: int, rng: random.Random, as_json: bool) -> Asked:
        """The prompt for one candidate's new text of one parameter; `rng` is this candidate's own."""

    # ---- the user's side

    def zero_grad(self) -> None:
        """Forget the feedback on the parameters."""
        for variable in self.parameters.values():
            variable.zero_grad()

    def propose(self) -> list[Proposal]:
        """All candidates, unusable ones with their reasons; empty where no parameter has feedback.

        Raises:
            EngineError: The engine could not be reached.
            BudgetExceeded: A limit is spent.
        """
        return list(dispatch.run(self._prepared(), what="propose()").proposals)

    async def apropose(self) -> list[Proposal]:
        """`propose()` for async code."""
        return list((await dispatch.arun(self._prepared())).proposals)

    def apply(self, proposal: Proposal) -> None:
        """Write a proposal's texts into the parameters: all of them, or none.

        Raises:
            ProposalRejected: It is unusable, or made against an older version of a value, or a parameter was frozen.
        """
        stale = [
            f"{each.name}: its value was replaced since the proposal was made"
            for each in proposal.rewrites
            if each.variable.version != each.version
        ]
        frozen = [
            f"{each.name}: it no longer requires grad" for each in proposal.rewrites if not each.variable.requires_grad
        ]
        reasons = (*proposal.reasons, *stale, *frozen)
        if reasons:
            raise ProposalRejected(reasons)
        for each in proposal.rewrites:
            each.variable.value = each.after if isinstance(each.variable.value, str) else json.loads(each.after)

    def step(self) -> StepResult:
        """Propose, pick one, apply it. What a model wrote never raises; it is a reason in the result.

        So is a request that a server would not answer for what it says.

        Raises:
            UsageError: Several candidates and no `select`, or one that must be awaited.
            EngineError: The engine could not be reached.
            BudgetExceeded: A limit is spent.
        """
        self._check_select()
        if inspect.iscoroutinefunction(self.select):
            raise UsageError(_AWAIT)
        made = dispatch.run(self._prepared(), what="step()")
        chosen = self._chosen(made)
        if isinstance(chosen, Awaitable):
            raise UsageError(_AWAIT)
        return self._stepped(made, chosen)

    async def astep(self) -> StepResult:
        """`step()` for async code."""
        self._check_select()
        made = await dispatch.arun(self._prepared())
        chosen = self._chosen(made)
        return self._stepped(made, await chosen if isinstance(chosen, Awaitable) else chosen)

    def state_dict(self) -> dict[str, JSON]:
        """What a later process needs to go on: the step's number and the history. The values are the Variables'."""
        return {"steps": self.steps, "history": self.history.state_dict()}

    def load_state_dict(self, state: Mapping[str, JSON]) -> None:
        """Go on from another optimizer's state.

        Raises:
            UsageError: It is none, or of other parameters.
        """
        steps = state.get("steps")
        if set(state) != {"steps", "history"} or not isinstance(steps, int):
            raise UsageError(f"this is no optimizer's state: it has {list(state)}, needed are steps and history")
        self.history.load_state_dict(state["history"], list(self.parameters))
        self.steps = steps

    # ---- choosing

    def _check_select(self) -> None:
        if self.candidates > 1 and self.select is None:
            raise UsageError(
                f"step() with candidates={self.candidates} needs select=, which picks one of the proposals; or call "
                "propose() and apply() yourself"
            )

    def _chosen(self, made: Round) -> Choice | Awaitable[Choice]:
        usable = [each for each in made.proposals if not each.reasons]
        if not usable or self.select is None:
            return usable[0] if usable else None
        return self.select(usable)

    def _stepped(self, made: Round, chosen: Proposal | None) -> StepResult:
        reasons: tuple[str, ...] = ()
        if chosen is not None:
            try:
                self.apply(chosen)
            except ProposalRejected as rejected:
                reasons = rejected.reasons
        elif not made.proposals:
            reasons = ("no gradients: nothing to change",)
        elif any(not each.reasons for each in made.proposals):
            reasons = ("select chose none of the proposals",)
        else:
            reasons = tuple(dict.fromkeys(reason for each in made.proposals for reason in each.reasons))
        return StepResult(applied=not reasons, reasons=reasons, calls=made.calls, proposals=made.proposals)

    # ---- proposing

    def _prepared(self) -> Callable[[], Awaitable[Round]]:
        """Look at everything now, on the caller's thread; what is returned only talks to the engine."""
        trained = [name for name, each in self.parameters.items() if each.requires_grad and each.gradients]
        if not trained:
            return _nothing
        index = dispatch.next_index()
        engine = resolve(self.engine)
        run = context.run.get()
        step, seed = self.steps, self.seed if run is None else run.seed
        jobs = [
            self._job(name, engine=engine, place=(*index, place), draw=(seed, step))
            for place, name in enumerate(trained)
        ]
        self.steps += 1

        async def work() -> Round:
            made = await dispatch.together([functools.partial(write, job) for job in jobs])
            for job, written in zip(jobs, made, strict=True):
                if not written.refused:  # what they ask for would have the next requests refused as well
                    self.history.add(job.name, Past(step=step, value=job.text, changes=job.changes))
            candidates = zip(*(each.rewrites for each in made), strict=True)
            return Round(
                proposals=tuple(
                    Proposal(candidate=place, rewrites=rewrites) for place, rewrites in enumerate(candidates)
                ),
                calls=sum(each.calls for each in made),
            )

        return work

    def _job(self, name: str, *, engine: Engine, place: Index, draw: tuple[int, int]) -> Job:
        variable = self.parameters[name]
        text = variable.text
        return Job(
            name=name,
            variable=variable,
            version=variable.version,
            text=text,
            is_text=isinstance(variable.value, str),
            gradients=variable.gradients,
            constraints=(*self.constraints, *checked(variable.constraints, of=name)),
            examples=self.in_context_examples,
            history=self.history.text(name, text),
            feedback_tokens=self.feedback_tokens,
            edit_above=self.edit_above,
            engine=engine,
            options=self.options,
            ask=self.ask,
            candidates=self.candidates,
            place=place,
            draw=draw,
        )


async def _nothing() -> Round:
    return Round(proposals=(), calls=0)


def _named(parameters: Iterable[Variable] | Mapping[str, Variable]) -> dict[str, Variable]:
    """The parameters by name, in order; one without a name of its own is called by its place."""
    if isinstance(parameters, set | frozenset):
        raise UsageError("the parameters are a set, which has no order that two processes share: pass a list")
    if isinstance(parameters, Variable):
        raise UsageError("parameters= takes several Variables: pass [variable]")
    if isinstance(parameters, Mapping):
        pairs = list(parameters.items())
    else:
        pairs = [(getattr(each, "name", None) or f"p{place}", each) for place, each in enumerate(parameters, start=1)]
    strangers = [each for _, each in pairs if not isinstance(each, Variable)]
    if strangers:
        raise UsageError(
            f"{strangers[0]!r} among the parameters is no Variable: make it one, "
            "wordgrad.Variable(text, role_description, requires_grad=True), and give that to the model too"
        )
    if not pairs:
        raise UsageError("an optimizer needs at least one parameter: pass model.parameters(), or [variable]")
    if len(dict(pairs)) != len(pairs) or len({id(each) for _, each in pairs}) != len(pairs):
        raise UsageError(f"a parameter, or a name, stands twice in {[name for name, _ in pairs]}")
    return dict(pairs)
