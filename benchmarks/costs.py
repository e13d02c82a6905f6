"""What was predicted before a run beside what the run took, on 20 configurations; and what a strategy's critics are.

    python benchmarks/costs.py --repeats 30

No model is asked: a made-up engine answers, whose prompts are worth a number, and whose replies are of random length.
Writes COSTS.md.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import Section, arguments, machine, show

import wordgrad as wg
from wordgrad.compose.preflight import preflighted
from wordgrad.compose.training import carried_out
from wordgrad.losses.metric import MetricLoss
from wordgrad.store.ledger import Totals
from wordgrad.testing import Reply, RuleEngine
from wordgrad.train import config as configs
from wordgrad.train.build import build
from wordgrad.train.events import Observer, unwatched
from wordgrad.train.job import Job
from wordgrad.train.predict import Prediction
from wordgrad.types import Price, Request

HERE = Path(__file__).parent
STRATEGIES: Mapping[str, Any] = {"per_node": wg.per_node, "per_edge": wg.per_edge, "fused": wg.fused}
WORTH = re.compile(r"\(worth (\d\.\d\d)\)")
ASKED = re.compile(r"Answer for ((?:P\d+)(?:, P\d+)*)")
FORMULA = "n·k(k+1)/2"
FIRST = 85
"""The first seed: those before were seen when the way of predicting was chosen."""
N = 5
NEAR, TWICE = 0.2, 2.0
"""The goals: how far tokens may be off, and how many times what was paid the bound may be."""
SECRET = b"costs"
"""Fences are in the requests that replies are drawn for: with a secret of each run's own, no two tables are alike."""

METRICS = {
    "exact": "",
    "function": '[metric]\nkind = "function"\nfunction = "cost_metric:right"\n',
    "rubric": '[metric]\nkind = "rubric"\nrubric = "Is the answer the one that the notes give?"\npassing = 0.9\n',
}
METRIC = "def right(output, target):\n    return output.startswith(target)\n"


@dataclass(frozen=True, slots=True)
class Setup:
    """One configuration."""

    name: str
    train: int
    validation: int
    test: int
    steps: int
    batch: int
    candidates: int
    metric: str = "exact"
    strategy: str = "per_node"
    calls: int = 0
    """Model calls of a program of the user's own; 0 for the built-in one."""
    worth: float = 0.5
    """The start's: the share of rows that it has right."""
    learns: str = "some"
    """What rewrites are worth: "some" a little more on average, "less", "nothing" the same, "all" often everything."""
    words: str = "usual"
    """How long replies are: "few", "usual" or "many" words."""
    noise: float = 0.0
    """The share of answers that are wrong by chance."""
    unreadable: float = 0.0
    """The share of critics' and rewriters' replies that have to be repaired."""
    price: tuple[float, float] = (0.5, 1.5)


MISSES = """\
Why single runs miss the goals:

- What rewrites are worth is chance. Two runs of one configuration differ by more than the goals allow, as the last column says, and no prediction is right for both. What is expected is near as many made-up runs as can be.
- A rewrite is taken to mend such a share of what still fails as those tried did. Where each adds as much as the first (4), a batch mostly has no failing row after three steps, and the fourth, which was predicted, races nothing.
- What rewrites do to rows is seen of at most four of them on one batch, which says only roughly how long races last (2, 9). Where few rows fail, a batch may have none, and a run of such batches races nothing (20)."""

LENGTHS = {
    "few": {"critic": (10, 40), "rewrite": (30, 120), "answer": (2, 10), "row": (10, 40)},
    "usual": {"critic": (30, 100), "rewrite": (80, 250), "answer": (5, 60), "row": (30, 150)},
    "many": {"critic": (60, 250), "rewrite": (150, 600), "answer": (40, 300), "row": (100, 600)},
}
"""In tokens: what a critic asks for, a rewrite, an answer's words beside the wanted one, a row's input."""

SETUPS = (
    Setup("perfect, small", 8, 12, 5, 2, 4, 2, worth=1.0),
    Setup("usual", 40, 80, 40, 3, 8, 8),
    Setup("nothing is learned", 40, 80, 40, 3, 8, 8, learns="nothing"),
    Setup("wide and long", 60, 120, 60, 4, 12, 12, worth=0.4, words="many", price=(2.5, 10.0)),
    Setup("no test rows", 20, 40, 0, 2, 8, 4, "function", worth=0.6, price=(0.15, 0.6)),
    Setup("one candidate", 30, 60, 30, 4, 8, 1, worth=0.3, words="few"),
    Setup("a judge", 40, 80, 40, 3, 8, 8, "rubric", price=(0.15, 0.6)),
    Setup("a judge, fused, worse", 24, 48, 24, 1, 12, 4, "rubric", "fused", worth=0.2, learns="less"),
    Setup("many validation rows, worse", 40, 200, 100, 3, 8, 8, worth=0.7, learns="less", words="few"),
    Setup("all is learned", 40, 80, 40, 3, 8, 6, worth=0.0, learns="all", price=(1.0, 5.0)),
    Setup("chain of 2", 30, 60, 30, 2, 8, 4, "function", calls=2),
    Setup("chain of 2, per_edge", 30, 60, 30, 2, 8, 4, "function", "per_edge", calls=2),
    Setup("chain of 3, fused", 30, 60, 30, 2, 8, 4, "function", "fused", calls=3, price=(2.5, 10.0)),
    Setup("chain of 3, per_edge, worse", 30, 50, 20, 3, 6, 2, "function", "per_edge", 3, 0.4, "less", "many"),
    Setup("chain of 3, nothing", 30, 60, 30, 2, 8, 4, "function", calls=3, learns="nothing", words="few"),
    Setup("perfect, function", 40, 80, 40, 3, 8, 8, "function", worth=1.0, price=(2.5, 10.0)),
    Setup("perfect, chain of 2, fused", 30, 60, 30, 3, 8, 4, "function", "fused", calls=2, worth=1.0),
    Setup("noise", 40, 80, 40, 3, 8, 8, worth=0.6, noise=0.1, unreadable=0.05),
    Setup("few training rows", 10, 40, 20, 4, 8, 3, "function", worth=0.4, unreadable=0.05),
    Setup("few failures", 60, 100, 50, 3, 8, 8, worth=0.92, words="many", price=(0.15, 0.6)),
)


class World(RuleEngine):
    """An engine whose prompts have a worth, written in them: the share of rows that they have right.

    A reply is a function of its request, the seed drawn from `rng`, and how often this was asked before.
    """

    def __init__(self, setup: Setup, rng: random.Random) -> None:
        super().__init__(self.said, name="world", price=Price(input_usd=setup.price[0], output_usd=setup.price[1]))
        self.setup = setup
        self.seed = rng.getrandbits(32)
        self.asked: Counter[str] = Counter()

    def said(self, request: Request) -> Reply:
        """The reply to one request."""
        if request.purpose == "preflight":
            return "ready"
        key = repr([[each.text for each in request.messages], request.sample])
        rng = random.Random(f"{self.seed} {self.asked[key]} {key}")
        self.asked[key] += 1
        texts = [each.text for each in request.messages]
        if request.purpose == "forward":
            return self.answer(rng, worth_of(texts), texts[-1])
        if request.purpose == "judge":
            return self.judged(rng, texts[-1])
        if "cannot be used" not in texts[-1] and rng.random() < self.setup.unreadable:
            return self.words(rng, "critic")
        if request.purpose == "backward":
            return self.criticised(rng, request)
        worth = rewritten(rng, self.setup.learns, worth_of(texts))
        return {"value": f"{self.words(rng, 'rewrite')} (worth {worth:.2f})"}

    def judged(self, rng: random.Random, asked: str) -> Reply:
        """A critique with a score, or a preference."""
        critique = self.words(rng, "critic")
        if "The first answer" in asked:
            one, other = ("right" in each for each in asked.split("The first answer")[1].split("The second answer"))
            return {"reason": critique, "better": "neither" if one == other else "first" if one else "second"}
        return {"critique": critique, "score": 1.0 if "right" in asked.split("The text to judge")[1] else 0.3}

    def answer(self, rng: random.Random, worth: float, asked: str) -> str:
        """The wanted word where the row is easy enough, after a chain's earlier calls had it right too."""
        row = asked.split(maxsplit=1)[0]
        good = random.Random(row).random() < worth and rng.random() >= self.setup.noise
        if "wrong" in asked or not good:
            return f"{row} wrong {self.words(rng, 'answer')}"
        return f"{row} right" if self.setup.metric == "exact" else f"{row} right {self.words(rng, 'answer')}"

    def criticised(self, rng: random.Random, request: Request) -> Reply:
        """A verdict on each part."""
        # A repair asks for what the request before it did.
        said = next(each[-1] for text in reversed(request.messages) if (each := ASKED.findall(text.text)))
        assert request.schema is not None
        parts = [
            {
                "part": part,
                "quote": "",
                "change": self.words(rng, "critic"),
                "keep": "",
                "verdict": "mine",
                "severity": 2,
            }
            for part in said.split(", ")
        ]
        return {"parts": parts} if request.schema["title"] == "NodeReply" else parts[0]  # type: ignore[return-value]

    def words(self, rng: random.Random, kind: str) -> str:
        """Words of a random length."""
        return words(rng, *LENGTHS[self.setup.words][kind])


def worth_of(texts: Sequence[str]) -> float:
    """What the prompt in a request is worth: no other text of it says such a thing."""
    return next(float(found[1]) for each in texts if (found := WORTH.search(each)))


def rewritten(rng: random.Random, learns: str, worth: float) -> float:
    """What a rewrite is worth."""
    if learns == "all" and rng.random() < 0.5:
        return 1.0
    mean = {"some": 0.05, "all": 0.05, "less": -0.1, "nothing": 0.0}[learns]
    gain = 0.0 if learns == "nothing" else rng.gauss(mean, 0.1)
    return min(1.0, max(0.0, worth + gain))


def words(rng: random.Random, least: int, most: int) -> str:
    """So many tokens of four characters, at random between two numbers."""
    return " ".join("".join(rng.choices("abcdefghij", k=3)) for _ in range(rng.randint(least, most)))


def rows_of(setup: Setup, split: str, count: int, rng: random.Random) -> list[dict[str, str]]:
    """Rows with inputs of random length; how hard one is, is in its name."""
    least, most = LENGTHS[setup.words]["row"]
    names = [f"{split}{number}-{rng.getrandbits(24)}" for number in range(count)]
    return [{"input": f"{name} {words(rng, least, most)}", "target": f"{name} right"} for name in names]


def right(output: str, target: str) -> bool:
    """The answer begins with the wanted one."""
    return output.startswith(target)


def made(setup: Setup, engine: World, rng: random.Random, folder: Path) -> Job:
    """The job: of a TOML file, or of a trainer for a chain."""
    rows = {split: rows_of(setup, split, getattr(setup, split), rng) for split in ("train", "validation", "test")}
    start = f"Answer it. (worth {setup.worth:.2f})"
    seed = rng.getrandbits(16)
    if setup.calls:
        return trained(setup, engine, rows, start, seed)
    (folder / "cost_metric.py").write_text(METRIC)
    for split, each in rows.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    tables = {"engines": ("forward", "backward", "optimizer"), "data": ("train", "validation")}
    data = [f'{split} = "{split}.jsonl"' for split in (*tables["data"], *(["test"] if setup.test else []))]
    lines = [
        *(f'[engines.{name}]\nengine = "world"' for name in tables["engines"]),
        f'[variables.prompt]\nrole = "system prompt"\ntext = "{start}"',
        "[data]",
        *data,
        METRICS[setup.metric],
        f"[search]\nsteps = {setup.steps}\nbatch = {setup.batch}\ncandidates = {setup.candidates}",
        f'strategy = "{setup.strategy}"',
    ]
    return build(configs.parse("\n".join(lines), folder / "wordgrad.toml"), engine_of=lambda _: engine, seed=seed)


def trained(setup: Setup, engine: World, rows: Mapping[str, Any], start: str, seed: int) -> Job:
    """The job of a trainer, of a function that asks so many times, each time about what was answered before."""

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return chain(list(variables.values()), example["input"], engine)

    plan = wg.Plan(
        steps=setup.steps,
        batch=setup.batch,
        candidates=setup.candidates,
        strategy=STRATEGIES[setup.strategy],
        critic=engine,
    )
    prompts = {f"p{place}": prompt(start, place) for place in range(setup.calls)}
    trainer = wg.Trainer(program, right, variables=prompts, plan=plan)
    # What `fit()` carries out; what looks took is told by no public call.
    return trainer._job(trainer._splits(rows["train"], rows["validation"], rows["test"]), seed)  # noqa: SLF001


def prompt(text: str, place: int) -> wg.Variable:
    """A text to train."""
    return wg.Variable(text, f"system prompt of call {place + 1}", requires_grad=True)


def chain(prompts: Sequence[wg.Variable], asked: str | wg.Variable, engine: wg.Engine) -> wg.Variable:
    """Each call reads what the one before answered."""
    for each in prompts:
        asked = wg.llm_call(each, asked, engine=engine)
    assert isinstance(asked, wg.Variable)
    return asked


def measured_once(setup: Setup, seed: int) -> tuple[Prediction, Totals]:
    """What was predicted, and what the run took."""
    rng = random.Random(f"{setup.name} {seed}")

    @contextmanager
    def opened() -> Generator[tuple[wg.Run, Observer]]:
        with wg.Run(seed=seed, secret=SECRET) as run:
            yield run, unwatched

    with tempfile.TemporaryDirectory() as folder:
        job = made(setup, World(setup, rng), rng, Path(folder))
    said = preflighted(job, opened, seed=seed).prediction
    with wg.Run(seed=seed, secret=SECRET) as run:
        carried_out(run, job, unwatched, seed=seed)
    return said, run.usage


@dataclass(frozen=True, slots=True)
class Runs:
    """What was predicted for each run of one configuration, and what it took."""

    setup: Setup
    found: Sequence[tuple[Prediction, Totals]]

    @property
    def tokens(self) -> list[int]:
        """What each run took, read and written."""
        return [used.input_tokens + used.output_tokens for _, used in self.found]

    @property
    def off(self) -> list[float]:
        """How far the tokens predicted for each run are off: 0.2 is a fifth too many."""
        return [said.tokens / took - 1 for (said, _), took in zip(self.found, self.tokens, strict=True)]

    @property
    def off_others(self) -> list[float]:
        """How far the median of the other runs is off: no prediction can know that."""
        tokens = self.tokens
        return [middle([*tokens[:place], *tokens[place + 1 :]]) / took - 1 for place, took in enumerate(tokens)]

    @property
    def bounds(self) -> list[float]:
        """How many times what each run paid its bound was."""
        return [priced(said.most_usd) / priced(used.cost_usd) for said, used in self.found]

    def row(self, number: int) -> list[str]:
        """The configuration's row of the table."""
        off, bounds, tokens = self.off, self.bounds, self.tokens
        said, used = zip(*self.found, strict=True)
        return [
            str(number),
            self.setup.name,
            f"{middle([each.calls for each in said]):,.0f} / {middle([each.calls for each in used]):,.0f}",
            f"{middle([each.tokens for each in said]):,.0f} / {middle(tokens):,.0f}",
            f"{100 * middle(off):+.0f} % ({100 * min(off):+.0f} to {100 * max(off):+.0f})",
            f"{middle([priced(each.usd) for each in said]):.4f} / {middle([priced(each.cost_usd) for each in used]):.4f}",
            f"{middle([priced(each.most_usd) for each in said]):.4f}",
            f"{sum(each >= 1 for each in bounds)} of {len(bounds)}",
            f"{middle(bounds):.2f} ({min(bounds):.2f} to {max(bounds):.2f})",
            f"{max(tokens) / min(tokens):.2f}",
        ]


def measured(setup: Setup, seeds: Sequence[int]) -> Runs:
    """One configuration's runs."""
    return Runs(setup, [measured_once(setup, seed) for seed in seeds])


def compared(setups: Sequence[Setup], repeats: int) -> Section:
    """What was predicted beside what was taken."""
    seeds = range(FIRST, FIRST + repeats)
    with ProcessPoolExecutor() as pool:
        all_runs = list(pool.map(measured, setups, [seeds] * len(setups)))
    perfect = [runs for runs in all_runs if runs.setup.worth == 1.0]
    pairs = [pair for runs in all_runs for pair in runs.found]
    bounds = [each for runs in all_runs for each in runs.bounds]
    tokens = [each for runs in all_runs for each in runs.tokens]
    exact = sum(said.calls == used.calls for runs in perfect for said, used in runs.found)
    calls_held = sum(used.calls <= said.most_calls for said, used in pairs)
    tokens_held = sum(took <= said.most_tokens for (said, _), took in zip(pairs, tokens, strict=True))
    return Section(
        title="Predicted beside actual",
        text=(
            f"{len(setups)} configurations, {repeats} seeds of each; medians, and the least and the most in brackets.\n"
            f"The way of predicting was chosen when seeds 0 to {FIRST - 1} had been seen, so these are {FIRST} to "
            f"{FIRST + repeats - 1}.\n\n"
            f"- Calls: exact in {exact} of {repeats * len(perfect)} runs of a perfect start, the only ones whose course "
            "is fixed.\n"
            f"- Tokens: within 20 % in {near(each for runs in perfect for each in runs.off)} of these, and in "
            f"{near(each for runs in all_runs for each in runs.off)} of all {len(pairs)} runs; by their median, in "
            f"{near(middle(runs.off) for runs in all_runs)} of {len(setups)} configurations. What no prediction can "
            "know, the median of what the other runs of a configuration took, is within 20 % in "
            f"{near(each for runs in all_runs for each in runs.off_others)} of {len(pairs)}.\n"
            f"- Money: the bound held in {sum(each >= 1 for each in bounds)} of {len(pairs)} runs (the goal is 95 %), and "
            f"was at most twice what was paid in {sum(1 <= each <= TWICE for each in bounds)} of them; by their median, "
            f"in {sum(middle(runs.bounds) <= TWICE for runs in all_runs)} of {len(setups)} configurations. That of calls "
            f"held in {calls_held}, that of tokens in {tokens_held}.\n\n"
            f"{MISSES}"
        ),
        columns=(
            "",
            "configuration",
            "calls, said / taken",
            "tokens, said / taken",
            "tokens off by",
            "US$, said / taken",
            "US$, bound",
            "held",
            "bound / taken",
            "tokens, most / least taken",
        ),
        rows=[runs.row(number) for number, runs in enumerate(all_runs, start=1)],
    )


def priced(usd: float | None) -> float:
    """Dollars: all engines here have a price."""
    assert usd is not None
    return usd


def near(offs: Iterable[float]) -> int:
    """How many are as near as they should be."""
    return sum(abs(each) <= NEAR for each in offs)


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def settings(setups: Sequence[Setup]) -> Section:
    """What the configurations are."""
    return Section(
        title="The configurations",
        text=(
            "Rows to learn from / of validation / of test; a start's worth is the share of rows that it has right. "
            "A chain of 0 is the built-in program. Prices are US dollars for a million tokens, read / written. "
            "Rewrites are worth a little more on average (some), less, the same (nothing), or often all."
        ),
        columns=(
            *("", "configuration", "rows", "steps", "batch", "candidates", "metric", "strategy", "chain"),
            *("worth", "rewrites", "words", "price"),
        ),
        rows=[
            [
                str(number),
                each.name,
                f"{each.train} / {each.validation} / {each.test}",
                *map(str, (each.steps, each.batch, each.candidates, each.metric, each.strategy, each.calls)),
                f"{each.worth:g}",
                each.learns,
                each.words,
                f"{each.price[0]:g} / {each.price[1]:g}",
            ]
            for number, each in enumerate(setups, start=1)
        ],
    )


def critics(k: int, strategy: str) -> int:
    """Critic calls of one backward pass over chains of k calls on n failing examples, counted."""
    setup = Setup("", 1, 1, 0, 1, 1, 1, worth=0.0)
    engine = World(setup, random.Random(k))
    prompts = [prompt("Answer it. (worth 0.00)", place) for place in range(k)]
    loss = MetricLoss(right)
    losses = [loss(chain(prompts, f"row{row} is asked", engine), f"row{row} right") for row in range(N)]
    with wg.backward_engine(engine):
        wg.backward(losses, strategy=STRATEGIES[strategy])
    return sum(each.request.purpose == "backward" for each in engine.history)


def literature() -> Section:
    """The formula beside what each strategy needs."""
    return Section(
        title="Critics of a backward pass",
        text=(
            f"A chain of k model calls, each with a prompt to train, on n = {N} failing examples: critic calls by the "
            f"formula {FORMULA}, and counted. Passing examples have none. In a chain `per_edge` asks about each call's "
            "prompt and what the call before wrote: n(2k - 1); `per_node` needs n·k, `fused` n."
        ),
        columns=("k", FORMULA, *(f"`{each}`" for each in ("per_edge", "per_node", "fused"))),
        rows=[
            [str(k), str(N * k * (k + 1) // 2), *(str(critics(k, each)) for each in ("per_edge", "per_node", "fused"))]
            for k in (1, 2, 3)
        ],
    )


def main() -> None:
    """Measure all, then write."""
    repeats = arguments(__doc__).parse_args().repeats
    if repeats < 2:
        sys.exit("--repeats: runs of one configuration are held against each other, so it takes 2 or more")
    sections = [compared(SETUPS, repeats), settings(SETUPS), literature()]
    head = f"# What runs cost\n\nMade by `python benchmarks/costs.py` on {dt.datetime.now(dt.UTC):%Y-%m-%d}: {machine()}.\n"
    (HERE / "COSTS.md").write_text("\n".join([head, *(each.markdown() for each in sections)]))
    show(sections)


if __name__ == "__main__":
    main()
