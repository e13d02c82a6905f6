"""Wordgrad in made-up worlds: `python wordgrad_world.py`; see `world.visits`.

`Trainer.fit` as it comes, but for the number of steps, which only the budget ends. The budget is of all calls, so
critics and rewrites are paid from it as well as the program's runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from world import START, Visit, named, visits

import wordgrad as wg
from wordgrad.testing import Reply, RuleEngine
from wordgrad.types import JSON, Request

_PARTS = re.compile(r"Answer for ((?:P\d+)(?:, P\d+)*)")
_MANY = 500
"""More steps than any budget here pays for."""


class Model(RuleEngine):
    """Answers rows, criticises and rewrites."""

    def __init__(self, visit: Visit, candidates: int) -> None:
        super().__init__(self.said)
        self.visit = visit
        self.candidates = candidates

    def said(self, request: Request) -> Reply:
        """By what a request is for."""
        asked = request.messages[-1].text
        match request.purpose:
            case "forward":
                right = self.visit.answer(request.messages[0].text, int(asked.split()[-1]))
                return "right" if right else "wrong"
            case "optimize":
                _, step, candidate = request.sample
                # By the request and not by its turn: the candidates of a step are asked for at once.
                return {"value": self.visit.rewrite(asked, step * self.candidates + candidate + 1)}
            case "backward":
                return critique(asked, self.visit.criticise())
            case _:
                return self.visit.criticise()


def critique(asked: str, change: str) -> Mapping[str, JSON]:
    """A critic's reply on every part that it is asked about."""
    found = _PARTS.search(asked)
    assert found is not None, "no critic was asked"
    verdict = {"verdict": "mine", "severity": 2, "quote": "", "change": change, "keep": ""}
    return {"parts": [{**verdict, "part": part} for part in found[1].split(", ")]}


def same(output: str, target: str) -> bool:
    """The output is the target."""
    return output == target


def searched(visit: Visit) -> str:
    """The line of one run."""
    model = Model(visit, wg.Plan().candidates)
    prompt = wg.Variable(START, "system prompt", requires_grad=True)
    trainer = wg.Trainer(
        lambda variables, row: wg.llm_call(variables["prompt"], row["input"], engine=model),
        wg.MetricLoss(same, pure=True),  # a run would record each result of a function that is not
        variables={"prompt": prompt},
        plan=wg.Plan(steps=_MANY, critic=model),
    )
    train, validation = (
        [{"input": f"row {row}", "target": "right"} for row in rows] for rows in (visit.train, visit.validation)
    )
    result = trainer.fit(train, validation, budget=wg.Budget(calls=visit.world.budget), seed=visit.run)
    outcome, decision = result.outcome, result.decision
    assert sum(each.calls for each in result.record.spent) == visit.calls
    return visit.ended(
        result.values["prompt"],
        decision.likely if decision is not None and result.accepted else 0.0,
        low=decision.claim.low if decision is not None else None,
        found=named(outcome.found["prompt"]),
        steps=sum(each.lead is not None for each in outcome.search.steps),
    )


if __name__ == "__main__":
    for each in visits():
        print(searched(each), flush=True)
