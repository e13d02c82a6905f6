"""The same in fewer words."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from wordgrad import prompts
from wordgrad.optim.base import Optimizer
from wordgrad.prompts import Asked, Work


class Compression(Optimizer):
    """Shorter versions of the values, whatever the feedback on them says.

    Each candidate is told a length: the first two thirds of the words, the next a half, then two fifths, a third, …
    """

    def ask(self, work: Work, *, candidate: int, rng: random.Random, as_json: bool) -> Asked:
        """The prompt `compress.md`."""
        words = math.ceil(2 / (3 + candidate) * len(work.value.split()))
        return prompts.compress(replace(work, emphasis=f"Use at most {words} words."), as_json=as_json)
