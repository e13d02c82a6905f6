"""GEPA in made-up worlds: `python gepa_world.py`, in an environment with `gepa`; see `world.visits`.

Its own `optimize` with its default settings; all validation rows are its `valset`, and the budget is its
`max_metric_calls`. It looks at that before each iteration only, so its last one may go beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gepa
from gepa.core.adapter import EvaluationBatch, GEPAAdapter
from world import START, Visit, visits


class Adapter(GEPAAdapter[int, int, str]):
    """What GEPA needs to know of a task: here the program's runs on rows of a world."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def evaluate(
        self,
        batch: list[int],
        candidate: dict[str, str],
        capture_traces: bool = False,  # noqa: FBT001, FBT002
    ) -> EvaluationBatch[int, str]:
        """Score one text on some rows."""
        right = [self.visit.answer(candidate["prompt"], row) for row in batch]
        return EvaluationBatch(
            outputs=["right" if each else "wrong" for each in right],
            scores=[float(each) for each in right],
            trajectories=list(batch) if capture_traces else None,
        )

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: EvaluationBatch[int, str], components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """What the reflection is shown of a batch."""
        records = [
            {"Inputs": f"row {row}", "Generated Outputs": output, "Feedback": "right is wanted"}
            for row, output in zip(eval_batch.trajectories or (), eval_batch.outputs, strict=True)
        ]
        return dict.fromkeys(components_to_update, records)


class Silent:
    """A logger that says nothing."""

    def log(self, message: str) -> None:
        """Nothing."""


def searched(visit: Visit) -> str:
    """The line of one run."""
    found = gepa.optimize(
        seed_candidate={"prompt": START},
        trainset=list(visit.train),
        valset=list(visit.validation),
        adapter=Adapter(visit),
        reflection_lm=lambda prompt: f"```\n{visit.rewrite(str(prompt))}\n```",
        max_metric_calls=visit.world.budget,
        logger=Silent(),
        seed=visit.run,
    )
    assert found.total_metric_calls == visit.rollouts
    scores = found.val_aggregate_scores
    best = found.candidates[found.best_idx]["prompt"]
    return visit.ended(best, scores[found.best_idx] - scores[0], candidates=len(scores))


if __name__ == "__main__":
    for each in visits():
        print(searched(each), flush=True)
