"""A made-up task of known truth, for any Python, without a dependency: rows, texts, and what each text is worth.

A text names its ancestry, as in "Answer as text 0.3.17 does.": it is the 17th rewrite of a run, made from the 3rd,
which was made from the start. On which rows it is right follows from that, the world and the run's number alone. So all
tools meet the same rows and the same start, and a run's 17th rewrite is equally lucky in each of them.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

START = "Answer as text 0 does."
WORLDS = Path(__file__).parents[1] / "worlds.json"
_NAME = re.compile(r"\btext (\d+(?:\.\d+)*)")
_LEAST, _MOST = 0.05, 0.95
"""Between these lies what a text can be worth."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is drawn once, before any search."""

    number: int
    kind: str
    """nothing: no text is better than the start. rare: few are. spread: half are. worse: most are worse."""
    base: float
    """The start's true value: the share of all rows that there could be on which it is right."""
    differ: float
    """The share of its parent's rows that a rewrite changes; more where its gain is larger."""
    mean: float
    """Of a rewrite's true gain, before `most`."""
    spread: float
    """Its standard deviation."""
    most: float
    """No gain is larger, but for `leap`."""
    rare: float
    """How often a rewrite gains `leap` instead."""
    leap: float
    onward: bool
    """Whether a gain is over the parent, else over the start."""
    train: int
    """Rows."""
    validation: int
    """Rows."""
    budget: int
    """Program runs on one row that a tool may make."""

    def gain(self, run: int, number: int) -> float:
        """The true gain of a run's rewrite `number`, which counts from 1."""
        rng = random.Random(f"gain {self.number} {run} {number}")
        return self.leap if rng.random() < self.rare else min(rng.gauss(self.mean, self.spread), self.most)


def read(path: Path = WORLDS) -> list[World]:
    """The worlds as they were drawn."""
    return [World(**each) for each in json.loads(path.read_text())]


def write(worlds: Sequence[World], path: Path = WORLDS) -> None:
    """Keep them, one a line."""
    lines = ",\n".join(json.dumps(asdict(each)) for each in worlds)
    path.write_text(f"[\n{lines}\n]\n")


@dataclass(frozen=True)
class Text:
    """A text, by what it does."""

    true: float
    right: tuple[bool, ...]
    """On the training rows, then on the validation rows."""


@dataclass
class Visit:
    """One run of one tool in a world. It counts what the tool does."""

    world: World
    run: int = 0
    """Another run meets the same rows with other rewrites."""
    rollouts: int = 0
    rewritten: list[str] = field(default_factory=list)
    """The names of the texts that were asked for, in order."""
    others: int = 0
    """Calls that are neither, such as critics'."""
    _texts: dict[str, Text] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """All of them."""
        return self.rollouts + len(self.rewritten) + self.others

    @property
    def train(self) -> range:
        """The training rows."""
        return range(self.world.train)

    @property
    def validation(self) -> range:
        """The validation rows."""
        return range(self.world.train, self.world.train + self.world.validation)

    def answer(self, prompt: str, row: int) -> bool:
        """Run the program on one row: whether it is right."""
        self.rollouts += 1
        return self.text(named(prompt)).right[row]

    def rewrite(self, prompt: str, number: int | None = None) -> str:
        """A new text from the one that is named in `prompt`.

        Args:
            prompt: Also the first text that a longer prompt names.
            number: Which rewrite of the run it is, from 1; the next one where None.
        """
        name = f"{named(prompt)}.{number or len(self.rewritten) + 1}"
        self.rewritten.append(name)
        return f"Answer as text {name} does."

    def criticise(self) -> str:
        """A critic's word, which says nothing: here no rewriter learns by it."""
        self.others += 1
        return "Be exact."

    def text(self, name: str) -> Text:
        """What a text does."""
        if name not in self._texts:
            self._texts[name] = self._made(name)
        return self._texts[name]

    def gain(self, name: str) -> float:
        """What a text is truly worth more than the start."""
        return round(self.text(name).true - self.world.base, 9)

    def ended(self, prompt: str, reported: float, **more: object) -> str:
        """The run's line: with which prompt it ended, and the gain that it reports."""
        said = {
            "world": self.world.number,
            "run": self.run,
            "text": named(prompt),
            "reported": reported,
            "rollouts": self.rollouts,
            "calls": self.calls,
            "rewritten": self.rewritten,
            **more,
        }
        return json.dumps(said)

    def _made(self, name: str) -> Text:
        world = self.world
        parent_name, _, number = name.rpartition(".")
        # The rows of a world are the same in each of its runs.
        rng = random.Random(f"rows {world.number} {self.run if parent_name else ''} {number}")
        draws = [rng.random() for _ in range(world.train + world.validation)]
        if not parent_name:
            return Text(world.base, tuple(draw < world.base for draw in draws))
        parent = self.text(parent_name)
        origin = parent.true if world.onward else world.base
        true = min(max(origin + world.gain(self.run, int(number)), _LEAST), _MOST)
        gain = round(true - parent.true, 9)
        # Not more rows can be mended than are wrong, nor more broken than are right.
        share = min(max(world.differ, abs(gain)), 2 * (1 - parent.true) - gain, 2 * parent.true + gain)
        mended = (share + gain) / 2 / (1 - parent.true)
        broken = (share - gain) / 2 / parent.true
        right = tuple(draw >= broken if old else draw < mended for old, draw in zip(parent.right, draws, strict=True))
        return Text(round(parent.true + gain, 9), right)


def visits() -> list[Visit]:
    """What a script is told to do, on its standard input: a line of WORLD RUN BUDGET for each run."""
    worlds = read()
    told = [map(int, line.split()) for line in sys.stdin]
    return [Visit(replace(worlds[number], budget=budget), run) for number, run, budget in told]


def named(prompt: str) -> str:
    """The name of the first text in a prompt."""
    found = _NAME.search(prompt)
    assert found is not None, f"no text is named in {prompt!r}"
    return found[1]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a run ended with, by the truth. Gains are over the start."""

    visit: Visit
    said: Mapping[str, object]
    """The run's whole line."""
    changed: bool
    """Whether it ended with another text."""
    true: float
    """The true gain."""
    reported: float
    best: float
    """The largest true gain among all texts that the tool itself had, the start included."""
    rollouts: int
    calls: int
    rewrites: int

    @property
    def world(self) -> World:
        """Where it was."""
        return self.visit.world

    @property
    def key(self) -> tuple[int, int]:
        """The world's number, and the run's."""
        return self.world.number, self.visit.run

    def gain(self, name: str) -> float:
        """The true gain of any text of the run."""
        return self.visit.gain(name)


def measured(world: World, line: str) -> Ended:
    """What a run's line is worth."""
    said = json.loads(line)
    assert said["world"] == world.number
    visit = Visit(world, said["run"])
    return Ended(
        visit=visit,
        said=said,
        changed=said["text"] != "0",
        true=visit.gain(said["text"]),
        reported=said["reported"],
        best=max([0.0, *map(visit.gain, said["rewritten"])]),
        rollouts=said["rollouts"],
        calls=said["calls"],
        rewrites=len(said["rewritten"]),
    )
