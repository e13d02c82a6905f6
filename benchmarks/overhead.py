"""What a node costs: graphs of 1,000 to 100,000 calls, forward and backward, with an engine that does nothing.

python benchmarks/overhead.py --repeats 5
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import tracemalloc

from report import Section, arguments, show, spread

import wordgrad as wg

SIZES = (1_000, 10_000, 100_000)


def graph(size: int) -> wg.Variable:
    """A chain of joins on one leaf that requires grad."""
    text: wg.Variable = wg.Variable("", "text", requires_grad=True)
    start = text
    for _ in range(size):
        text = wg.join([text, ""], "")
    assert start.requires_grad
    return text


def timed(size: int) -> tuple[float, float]:
    """Seconds forward and backward."""
    gc.disable()  # its work grows with everything that lives
    start = time.perf_counter()
    end = graph(size)
    _ = end.value
    middle = time.perf_counter()
    end.backward("too long")
    return middle - start, time.perf_counter() - middle


def weighed(size: int) -> float:
    """Bytes of one node of a graph that has run."""
    _ = graph(1).value  # what is made once
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    end = graph(size)
    _ = end.value
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / size


def measured(repeats: int) -> list[Section]:
    """The table."""
    rows = []
    for size in SIZES:
        found = [_alone("--size", str(size)) for _ in range(repeats)]
        forward, backward = [each[0] for each in found], [each[1] for each in found]
        each_us = [1e6 * (first + second) / size for first, second in found]
        weight = _alone("--weigh", str(size))[0]
        rows.append(
            [
                f"{size:,}",
                spread(forward, "{:.3f}"),
                spread(backward, "{:.3f}"),
                spread(each_us, "{:.1f}"),
                f"{weight:,.0f}",
            ]
        )
    text = (
        "A chain of `join` calls on one leaf, each run in a process of its own: seconds forward and backward, "
        f"microseconds a node (median of {repeats}), and bytes a node that has run."
    )
    return [
        Section(
            title="Overhead",
            text=text,
            columns=("nodes", "forward, s", "backward, s", "µs a node", "bytes a node"),
            rows=rows,
        )
    ]


def _alone(*arguments: str) -> list[float]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    found: list[float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, help="one graph alone: its seconds forward and backward")
    parser.add_argument("--weigh", type=int, help="one graph alone: its bytes a node")
    given = parser.parse_args()
    if given.size:
        print(json.dumps(timed(given.size)))
    elif given.weigh:
        print(json.dumps([weighed(given.weigh)]))
    else:
        show(measured(given.repeats))
