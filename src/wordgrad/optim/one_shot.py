"""The control: what asking "improve this prompt, given these failures" finds without critics or history."""

from __future__ import annotations

import random
from dataclasses import replace

from wordgrad import prompts
from wordgrad.optim.base import Optimizer
from wordgrad.prompts import Asked, Work


class OneShotRewrite(Optimizer):
    """Independent rewrites from failures alone: input, output and what was wanted; never the gradients' requests.

    The first candidate sees all failures, each other one half of them, drawn anew. Failures can be
    added without a critic: `prompt.accumulate_grad(Gradient(text="failed", input=…, output=…, expected=…, example=…))`.
    """

    def ask(self, work: Work, *, candidate: int, rng: random.Random, as_json: bool) -> Asked:
        """The prompt `one_shot.md`."""
        if candidate > 0:
            chosen = sorted(rng.sample(range(len(work.records)), (len(work.records) + 1) // 2))
            work = replace(work, records=tuple(work.records[place] for place in chosen))
        return prompts.one_shot(work, as_json=as_json)
