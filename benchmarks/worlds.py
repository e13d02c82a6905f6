"""draft"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

from world import World, write  # noqa: E402


def drawn(number: int, rng: random.Random) -> World:
    """A world with parameters at random."""
    kind = rng.choice(["nothing", "rare", "spread", "worse"])
    # What is not used of a world's kind is drawn all the same: a world does not depend on the kinds before it.
    low, wide, all_equal = rng.uniform(0, 0.06), rng.uniform(0.02, 0.1), rng.random() < 0.5
    rare, leap = rng.uniform(0.02, 0.15), rng.uniform(0.05, 0.2)
    mean, spread, most = {
        "nothing": (0.0, 0.0, 0.0) if all_equal else (-low, wide / 2, 0.0),
        "rare": (-low, wide / 2, 0.0),
        "spread": (0.0, wide, 1.0),
        "worse": (-0.02 - low, wide, 1.0),
    }[kind]
    return World(
        number=number,
        kind=kind,
        base=round(rng.uniform(0.3, 0.9), 3),
        differ=round(rng.uniform(0.05, 0.4), 3),
        mean=round(mean, 4),
        spread=round(spread, 4),
        most=most,
        rare=round(rare, 3) if kind == "rare" else 0.0,
        leap=round(leap, 3) if kind == "rare" else 0.0,
        onward=rng.random() < 0.5,
        train=rng.randint(30, 200),
        validation=rng.randint(100, 400),
        budget=round(math.exp(rng.uniform(math.log(1_000), math.log(8_000)))),
    )


if __name__ == "__main__":
    rng = random.Random("worlds")
    write([drawn(number, rng) for number in range(100)])
