"""A small job for the command line: a prompt that must learn to shout, three files of rows, one fake engine."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import wordgrad as wg
from engines import verdicts
from wordgrad import cli, get_engine
from wordgrad.data.split import Division, divide
from wordgrad.errors import EngineError
from wordgrad.testing import Reply, RuleEngine
from wordgrad.testing.server import Body
from wordgrad.train.events import Event
from wordgrad.types import Message, Purpose, Request

CONFIG = """\
[engines.forward]
engine = "fake"
max_tokens = 20

[engines.backward]
engine = "fake"
max_tokens = 100

[engines.optimizer]
engine = "fake"
max_tokens = 100

[variables.prompt]
role = "system prompt"
file = "prompt.txt"

[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
input = "word"
target = "shout"

[search]
steps = 2
batch = 4
candidates = 2
"""
_MAIN = "from wordgrad.cli import main; main()"
START = "Say it."
BETTER = "Say it in CAPITALS."


class Pupil(RuleEngine):
    """Shouts where the prompt says CAPITALS; its rewrites say so.

    Args:
        rewrite: What the optimizer's calls get instead.
        **options: As for `RuleEngine`.
    """

    def __init__(self, rewrite: Reply | None = None, **options: Any) -> None:
        super().__init__(self.said, **{"name": "fake", **options})
        self._rewrite: Reply = {"value": BETTER} if rewrite is None else rewrite

    def said(self, request: Request) -> Reply:
        """The reply to one request."""
        match request.purpose:
            case "preflight":
                return "ready"
            case "forward":
                word = request.messages[-1].text
                return word.upper() if "CAPITALS" in request.messages[0].text else word
            case "optimize":
                return self._rewrite
            case _:
                return verdicts(request)


class Slow(Pupil):
    """Learns in two steps: to shout the even words, then all."""

    def said(self, request: Request) -> Reply:
        system, word = request.messages[0].text, request.messages[-1].text
        if request.purpose == "forward" and "even" in system:
            return word.upper() if word[-1] in "02468" else word
        if request.purpose == "optimize":
            return {"value": BETTER if "Shout even." in word else "Shout even."}
        return super().said(request)


class Half(Pupil):
    """Learns half: the words with an even number. So every step has something to learn."""

    def said(self, request: Request) -> Reply:
        said = super().said(request)
        word = request.messages[-1].text
        return word if request.purpose == "forward" and word[-1] in "13579" else said


class Two(Pupil):
    """Each rewrite is another text, so that a step takes more calls than it was begun for."""

    def said(self, request: Request) -> Reply:
        said = super().said(request)
        if request.purpose == "optimize":
            assert isinstance(said, dict), "the rewrite is one"
            return {"value": f"{said['value']} {request.sample}"}
        return said


class Silent(Pupil):
    """Its critics ask for nothing."""

    def said(self, request: Request) -> Reply:
        return verdicts(request, P1="") if request.purpose == "backward" else super().said(request)


class Flaky(Pupil):
    """Fails so often in each call on these words with the better text, which makes more of them."""

    def __init__(self, words: Collection[str], *, times: int) -> None:
        super().__init__()
        self.failing = Counter(dict.fromkeys(words, times))

    def said(self, request: Request) -> Reply:
        word = request.messages[-1].text
        if self.failing[word] and "CAPITALS" in request.messages[0].text:
            self.failing[word] -= 1
            return EngineError("busy", retryable=True, status=503, retry_after_s=0.0)
        return super().said(request)


_PURPOSES: dict[str, Purpose] = {"NodeReply": "backward", "RewriteReply": "optimize"}


def answered(body: Body) -> str:
    """What the pupil answers to a request for chat completions."""
    schema = body["response_format"]["json_schema"]["schema"] if "response_format" in body else None
    request = Request(
        messages=tuple(Message(each["role"], (each["content"],)) for each in body["messages"]),
        schema=schema,
        purpose="forward" if schema is None else _PURPOSES[schema["title"]],
    )
    said = Pupil().said(request)
    return said if isinstance(said, str) else json.dumps(said)


def found(said: str) -> dict[str, Any]:
    """A job's report in JSON, without what differs between jobs that found the same."""
    report = json.loads(said)
    return {name: report[name] for name in ("status", "variables", "accepted", "decision", "test", "steps", "leads")}


@dataclass(frozen=True)
class Project:
    """A folder with a job in it, and the command line on it."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def config(self) -> Path:
        """The job's TOML file."""
        return self.folder / "wordgrad.toml"

    @property
    def prompt(self) -> Path:
        """The prompt's file."""
        return self.folder / "prompt.txt"

    @property
    def store(self) -> Path:
        """Where the runs are kept."""
        return self.folder / "kept" / "runs.db"

    def change(self, old: str, new: str) -> None:
        """Change the TOML file."""
        source = self.config.read_text(encoding="utf-8")
        assert source.count(old) >= 1
        self.config.write_text(source.replace(old, new, 1), encoding="utf-8")

    def rows(self, split: str, words: Sequence[str]) -> None:
        """Write a split's rows."""
        lines = [json.dumps({"word": word, "shout": word.upper()}, ensure_ascii=False) for word in words]
        (self.folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def divided(self, *, seed: int = 0) -> Division[str]:
        """The words of the validation rows, as a run with this seed divides them."""
        lines = (self.folder / "validation.jsonl").read_text(encoding="utf-8").splitlines()
        return divide([json.loads(each)["word"] for each in lines], seed=seed, group=lambda word: word)

    def served(self, address: str, *, timeout_s: float = 60) -> None:
        """Have a server on this machine answer, in place of the fake engine."""
        self.monkeypatch.setattr("wordgrad.cli.optimize.get_engine", get_engine)
        source = self.config.read_text(encoding="utf-8")
        source = re.sub('engine = ".*"', f'engine = "openai:m@{address}/v1"\ntimeout_s = {timeout_s}', source)
        self.config.write_text(source, encoding="utf-8")

    def engine(self, engine: RuleEngine | Callable[[str], RuleEngine]) -> None:
        """Who answers to every spec."""
        make = (lambda _: engine) if isinstance(engine, RuleEngine) else engine
        for name in ("get_engine", "unasked_engine"):
            self.monkeypatch.setattr(f"wordgrad.cli.optimize.{name}", make)

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """`wordgrad` with these arguments: exit code, stdout, stderr."""
        self.monkeypatch.setattr("sys.argv", ["wordgrad", *map(str, arguments)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = self.capsys.readouterr()
        return int(caught.value.code or 0), out, err

    @contextmanager
    def spawned(self, *arguments: object, program: str = _MAIN) -> Iterator[subprocess.Popen[str]]:
        """`wordgrad` in a process of its own, killed at the end of the `with`, should it still run."""
        command = [sys.executable, "-c", program, *map(str, arguments)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=self.folder) as child:
            try:
                yield child
            finally:
                child.kill()

    def json(self, *arguments: object, code: int = 0) -> Any:
        """The one JSON object that a command prints which exits so."""
        exited, out, err = self.run(*arguments, "--json")
        assert exited == code, err
        return json.loads(out)


def shouting(program: Callable[..., Any], engine: RuleEngine) -> tuple[wg.Variable, wg.Trainer]:
    """A prompt, and who trains it in one step of four rows: a program's outputs are to be shouted."""
    prompt = wg.Variable(START, "system prompt", requires_grad=True)
    plan = wg.Plan(steps=1, batch=4, candidates=2, critic=engine)
    made = {"variables": {"prompt": prompt}, "plan": plan, "input": "word", "target": "shout"}
    return prompt, wg.Trainer(program, lambda output, target: output == target, **made)  # type: ignore[arg-type]


def shouted(split: str, count: int) -> list[dict[str, str]]:
    """Rows of a split: a word, and how it is shouted."""
    words = [f"{split}{number}" for number in range(count)]
    return [{"word": word, "shout": word.upper()} for word in words]


def breaking(kind: type[Event], error: BaseException, *, after: int = 0) -> Callable[[object, Event], None]:
    """What a screen does that breaks at an event of this kind, after so many of them."""
    seen = itertools.count()

    def told(_: object, event: Event) -> None:
        if isinstance(event, kind) and next(seen) >= after:
            raise error

    return told


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A job that works, with an engine that answers it."""
    made = Project(tmp_path, capsys, monkeypatch)
    made.config.write_text(CONFIG, encoding="utf-8")
    made.prompt.write_text(START + "\n", encoding="utf-8")
    made.rows("train", [f"train{number}" for number in range(8)])
    made.rows("validation", [f"held{number}" for number in range(12)])
    made.rows("test", [f"test{number}" for number in range(5)])
    monkeypatch.setenv("WORDGRAD_STORE", str(made.store))
    monkeypatch.setenv("COLUMNS", "120")
    made.engine(Pupil())
    return made


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the modules and folders that a test's program brought."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]
