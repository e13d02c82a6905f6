"""The TOML file of a run."""

from __future__ import annotations

import tomllib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from wordgrad.data import rows as files
from wordgrad.errors import UsageError
from wordgrad.train.accept import Rule
from wordgrad.types import Price

_UNKNOWN = "extra_forbidden"  # pydantic's name for it
_OWN = "Value error, "  # what pydantic puts before the words of a validator

Keys: TypeAlias = tuple[str, ...]
"""Where a value stands: ("data", "train")."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PriceTable(_Table):
    """US dollars for a million tokens."""

    input_usd: float = Field(ge=0)
    output_usd: float = Field(ge=0)
    cached_input_usd: float | None = Field(default=None, ge=0)

    def price(self) -> Price:
        """As the engines count it."""
        return Price(input_usd=self.input_usd, output_usd=self.output_usd, cached_input_usd=self.cached_input_usd)


class EngineTable(_Table):
    """An engine and how it is asked."""

    engine: str | None = None
    """A spec such as "local" or "gpt-4o"; the run's default where None."""
    max_tokens: int = Field(default=1024, gt=0)
    temperature: float | None = Field(default=None, ge=0)
    timeout_s: float = Field(default=300.0, gt=0)
    """Of one attempt; the next one follows."""
    price: PriceTable | None = None
    max_in_flight: int | None = Field(default=None, gt=0)
    """Calls at once; what the engine says that it can carry where None."""
    requests_per_minute: int | None = Field(default=None, gt=0)
    tokens_per_minute: int | None = Field(default=None, gt=0)
    """Read and written, by what the replies' usage says."""


class JudgeTable(EngineTable):
    """Who judges, and how it is asked."""

    engine: str


class Engines(_Table):
    """Who answers, who criticises, who rewrites."""

    forward: EngineTable = EngineTable()
    backward: EngineTable = EngineTable()
    optimizer: EngineTable = EngineTable()


class VariableTable(_Table):
    """One text to optimise: inline, or in a file."""

    role: str = Field(min_length=1)
    text: str | None = None
    file: Path | None = None
    constraints: tuple[str, ...] = ()
    max_tokens: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_source(self) -> VariableTable:
        if (self.text is None) == (self.file is None):
            raise ValueError("give either text or file")
        return self


class Data(_Table):
    """Files and columns."""

    train: Path | None = None
    """Rows to learn from."""
    validation: Path | None = None
    """Rows to choose and to confirm by; half of them, by the run's seed, are sealed until the end."""
    test: Path | None = None
    """Rows for the report alone."""
    examples: Path | None = None
    """One file in place of the three: it is divided, in the same way in every run."""
    input: str = "input"
    target: str = "target"
    """The column of what is wanted; a rubric needs none unless it is named."""
    by: str | None = None
    """A column whose equal values are one case (a customer, a conversation): its rows stay together, and count once."""

    @model_validator(mode="after")
    def _files(self) -> Self:
        if self.examples is None:
            missing = next((name for name in ("train", "validation") if getattr(self, name) is None), None)
            if missing is not None:
                raise ValueError(f"name the file of the {missing} rows, or one file of examples that is divided")
        elif any((self.train, self.validation, self.test)):
            raise ValueError("give either examples, which are divided, or train and validation")
        return self


class KnownTable(_Table):
    """An output whose worth is known: the metric is held against it before anything is paid for."""

    output: str
    target: Any = None
    input: Any = None
    """What was asked; a rubric's judge is told it."""
    passes: bool


class _Scored(_Table):
    kind: Literal["exact", "function", "rubric"] = "exact"
    function: str | None = None
    """"module:attribute", called fn(output, target)."""
    rubric: str | None = None
    objective: str = ""
    """What the score stands for, in words for critics; a rubric says it itself."""
    passing: float | None = Field(default=None, ge=0, le=1)
    """The score from which a row needs no feedback; 1 where None."""
    judge: JudgeTable | None = None
    """Who judges by a rubric; the backward engine where there is no such table."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.kind == "function" and not self.function:
            raise ValueError('kind = "function" needs function = "module:attribute"')
        if self.kind == "rubric" and not self.rubric:
            raise ValueError('kind = "rubric" needs rubric = "…"')
        for key in ("function", "rubric", "objective", "passing", "judge"):
            if key in self.model_fields_set and key not in _KEYS[self.kind]:
                raise ValueError(f'kind = "{self.kind}" takes no {key}: remove it')
        return self


_KEYS = {
    "exact": ("objective",),
    "function": ("function", "objective", "passing"),
    "rubric": ("rubric", "passing", "judge"),
}


class MetricTable(_Scored):
    """How an output is scored from 0 to 1: a built-in comparison, your own function, or a rubric for a judge."""

    known: tuple[KnownTable, ...] = ()


class GuardrailTable(_Scored):
    """A further metric, which a better text must not make worse."""

    margin: float = Field(ge=0, lt=1)
    """The loss that would be borne; 0: every row must pass."""


class Search(_Table):
    """How long, and how wide."""

    steps: int = Field(default=3, ge=1)
    batch: int = Field(default=8, ge=1)
    """Training rows that one step learns from."""
    candidates: int = Field(default=8, ge=1)
    """Rewrites that race against the present text."""
    compressions: int = Field(default=0, ge=0)
    """Rewrites at the end that say what was found in fewer words."""
    momentum: int = Field(default=0, ge=0)
    strategy: Literal["per_node", "per_edge", "fused"] = "per_node"


class Accept(_Table):
    """What a new text has to show on the sealed rows."""

    rule: Rule = "strict"
    """"strict": it is proved to be better; "lenient": it is more likely better than not."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """The chance of a false claim that the whole run may take."""
    margin: float = Field(default=0.02, ge=0, lt=1)
    """The gain that is not worth more scoring in a race."""


class BudgetTable(_Table):
    """Limits of a run; the command line's hold in place of these."""

    calls: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    """Read and written."""
    usd: float | None = Field(default=None, ge=0)
    seconds: float | None = Field(default=None, ge=0)


class Config(_Table):
    """All that a run is told."""

    program: str | None = None
    """"module:attribute": a Module, or fn(variables, row); None: one prompt and the input column."""
    engines: Engines = Engines()
    variables: dict[str, VariableTable] = Field(default_factory=dict)
    data: Data
    metric: MetricTable = MetricTable()
    guardrails: dict[str, GuardrailTable] = Field(default_factory=dict)
    search: Search = Search()
    accept: Accept = Accept()
    budget: BudgetTable = BudgetTable()
    _path: Path = PrivateAttr(default=Path("the file"))
    _source: str = PrivateAttr(default="")

    @property
    def path(self) -> Path:
        """The file that it was read from; paths in it are relative to its folder."""
        return self._path

    @property
    def source(self) -> str:
        """The file's text."""
        return self._source

    @property
    def target(self) -> str | None:
        """The column of what is wanted; None for a rubric that names none."""
        named = "target" in self.data.model_fields_set
        return None if self.metric.kind == "rubric" and not named else self.data.target

    @property
    def judges(self) -> dict[Keys, EngineTable]:
        """Who judges by a rubric, by where it stands: the target's first, then the guardrails'."""
        metrics: dict[Keys, _Scored] = {("metric",): self.metric}
        metrics |= {("guardrails", name): each for name, each in self.guardrails.items()}
        return {
            (*keys, "judge"): each.judge or self.engines.backward
            for keys, each in metrics.items()
            if each.kind == "rubric"
        }

    @property
    def asked(self) -> dict[Keys, EngineTable]:
        """The engines that a run asks, by where they stand; a program of the user's own brings what answers."""
        engines = self.engines
        asked: dict[Keys, EngineTable] = {("engines", "forward"): engines.forward} if self.program is None else {}
        asked |= {keys: each for keys, each in self.judges.items() if each is not engines.backward}
        return {**asked, ("engines", "backward"): engines.backward, ("engines", "optimizer"): engines.optimizer}

    @property
    def scoring(self) -> tuple[EngineTable, ...]:
        """The engines that a score asks: who answers, and the judges."""
        forward = (self.engines.forward,) if self.program is None else ()
        return (*forward, *self.judges.values())

    def at(self, *keys: str) -> str:
        """Where a key stands, for messages: "wordgrad.toml:12: data.train"."""
        return f"{self._path}:{_line_of(self._source, keys)}: {'.'.join(keys)}"

    @contextmanager
    def blaming(self, *keys: str) -> Generator[None]:
        """Name file, line and key in a `UsageError` about what stands there."""
        try:
            yield
        except UsageError as error:
            raise UsageError(f"{self.at(*keys)}: {error}") from error


def load(path: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """Read a run's TOML file; paths in it are relative to its folder.

    Args:
        path: The file.
        changes: Values by key, as "accept.alpha", that hold in place of the file's.

    Raises:
        UsageError: It cannot be read, or says something unknown; the message names file, line and key.
    """
    return parse(files.text(path), path, changes)


def parse(source: str, path: Path, changes: Mapping[str, Any] | None = None) -> Config:
    """`load()` for a text that came from `path`."""
    try:
        tables = tomllib.loads(source)
        for key, value in (changes or {}).items():
            _put(tables, key, value)
        config = Config.model_validate(tables)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: no TOML: {error}") from error
    except ValidationError as error:
        # A misspelt key is unknown, and the one that was meant is missing: the first says more.
        first = min(error.errors(), key=lambda each: each["type"] != _UNKNOWN)
        keys = [str(each) for each in first["loc"]]
        what = _unknown(keys) if first["type"] == _UNKNOWN else first["msg"].removeprefix(_OWN)
        raise UsageError(f"{path}:{_line_of(source, keys)}: {'.'.join(keys)}: {what}") from error
    placed = _placed(config, path, source)
    if placed.program is not None and "forward" in placed.engines.model_fields_set:
        raise UsageError(
            f"{placed.at('engines', 'forward')}: a program of your own brings the engine that answers; remove this"
        )
    return placed


def _put(tables: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for name in path:
        tables = tables.setdefault(name, {})
        if not isinstance(tables, dict):
            raise UsageError(f"{key!r} cannot be set: {name!r} is no table")
    tables[last] = value


def _unknown(keys: Sequence[str]) -> str:
    """What is wrong with a key that no table has, and which one was likely meant."""
    table: Any = Config
    for key in keys[:-1]:  # a variable's name is no field
        shape = table.model_fields[key].annotation if key in table.model_fields else table
        table = next((each for each in (shape, *get_args(shape)) if hasattr(each, "model_fields")), table)
    near = get_close_matches(keys[-1], table.model_fields, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; known: {', '.join(table.model_fields)}"


def _placed(config: Config, path: Path, source: str) -> Config:
    folder = path.parent
    data = config.data.model_copy(
        update={
            name: folder / each
            for name in ("train", "validation", "test", "examples")
            if (each := getattr(config.data, name)) is not None
        }
    )
    variables = {
        name: each if each.file is None else each.model_copy(update={"file": folder / each.file})
        for name, each in config.variables.items()
    }
    placed = config.model_copy(update={"data": data, "variables": variables})
    placed._path, placed._source = path, source  # noqa: SLF001 - made here
    return placed


def _line_of(source: str, keys: Sequence[str]) -> int:
    """The line where the last of `keys` that stands in the file is set; 1 where none does.

    tomllib tells no lines. A key stands on the line after the longest head of the file that is TOML without it.
    """
    lines = source.split("\n")
    whole = tomllib.loads(source)
    there = next((keys[:count] for count in range(len(keys), 0, -1) if _has(whole, keys[:count])), None)
    if there is None:
        return 1
    line = 1
    for count in range(1, len(lines)):
        try:
            head = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if _has(head, there):
            break
        line = count + 1
    return line


def _has(table: Any, keys: Sequence[str]) -> bool:  # noqa: ANN401 - what TOML can hold
    for key in keys:
        if not isinstance(table, dict) or key not in table:
            return False
        table = table[key]
    return True
