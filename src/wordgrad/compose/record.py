"""Steps, decisions and results as plain JSON: what the store keeps, and what `--json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wordgrad.compose.run import Totals
from wordgrad.core.gradient import Gradient
from wordgrad.losses.base import Scale
from wordgrad.statistics.claim import Claim
from wordgrad.train.accept import Decision
from wordgrad.train.events import Step
from wordgrad.train.job import Outcome
from wordgrad.train.scores import slices


def recorded(step: Step) -> dict[str, Any]:
    """The step as the store keeps it; feedback with the most severe first, each text once."""
    return {
        "number": step.number,
        "compression": step.compression,
        "accepted": step.accepted,
        "reason": step.reason,
        "lead": None if step.lead is None else asdict(step.lead),
        "before": dict(step.before),
        "after": dict(step.after),
        "feedback": {name: _ranked(gradients) for name, gradients in step.feedback.items()},
    }


def _ranked(gradients: Sequence[Gradient]) -> list[str]:
    return list(dict.fromkeys(each.text for each in sorted(gradients, key=lambda each: -each.severity)))


def summarised(run_id: str, outcome: Outcome, totals: Totals) -> dict[str, object]:
    """The run's result as JSON."""
    start, end, gain, scale = outcome.test_start, outcome.test_end, outcome.gain, outcome.search.task.scale
    return {
        "run": run_id,
        "status": outcome.status,
        "variables": [
            {"name": name, "start": text, "found": outcome.found[name], "end": outcome.end[name]}
            for name, text in outcome.start.items()
        ],
        "accepted": outcome.accepted,
        "words": outcome.words,
        "decision": None if outcome.decision is None else decided(outcome.decision, scale),
        "slices": [asdict(each) for each in outcome.kinds],
        "bounds": list(scale.bounds),
        "test": None
        if start is None
        else {
            "n": len(start.values),
            "start": start.mean,
            "end": None if end is None else end.mean,
            "gain": None if gain is None else _claimed(gain, scale),
            "slices": [] if end is None else [asdict(each) for each in slices(start, end)],
        },
        "steps": len(outcome.search.steps),
        "leads": sum(step.accepted for step in outcome.search.steps),
        "calls": totals.calls,
        "tokens": {"input": totals.input_tokens, "output": totals.output_tokens},
        "cost_usd": totals.cost_usd,
        "seconds": round(totals.seconds, 1),
    }


def decided(decision: Decision, scale: Scale) -> dict[str, object]:
    """A decision as JSON; the texts' scores are as the metric gave them, a difference above 0 is a gain."""
    return {
        "accepted": decision.accepted,
        "proved": decision.proved,
        "rule": decision.rule,
        "by_judge": decision.by_judge,
        "words": decision.words,
        **_claimed(decision.claim, scale),
        "likely": decision.likely,
        "alpha": decision.claim.alpha,
        "unjudged": decision.unjudged,
        "chance": decision.chance,
        "needed": decision.needed,
        "guardrails": {
            name: {
                "kept": each.kept,
                "broken": each.broken,
                "unjudged": each.unjudged,
                "difference": None if each.guard is None else each.guard.difference,
                "low": None if each.guard is None else each.guard.low,
                "margin": 0.0 if each.guard is None else each.guard.margin,
            }
            for name, each in decision.guardrails.items()
        },
    }


def _claimed(found: Claim, scale: Scale) -> dict[str, object]:
    sign = 1 if scale.higher_is_better else -1
    # + 0.0: without it the mean of a metric where 0 is best would be shown as -0.0%.
    return {
        "n": found.n,
        "start": None if found.start is None else sign * found.start + 0.0,
        "candidate": None if found.candidate is None else sign * found.candidate + 0.0,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "better": found.better,
        "worse": found.worse,
        "excluded": found.excluded,
    }
