"""The TOML file of a run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wordgrad.errors import UsageError
from wordgrad.types import Price


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
    price: PriceTable | None = None


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

    train: Path
    validation: Path
    test: Path
    input: str = "input"
    target: str | None = "target"


class Metric(_Table):
    """How an output is scored: a built-in comparison, your own function, or a rubric for a judge."""

    kind: Literal["exact", "function", "rubric"] = "exact"
    function: str | None = None
    """"module:attribute", called fn(output, target)."""
    rubric: str | None = None
    objective: str = ""
    passing: float | None = None

    @model_validator(mode="after")
    def _complete(self) -> Metric:
        if self.kind == "function" and not self.function:
            raise ValueError('kind = "function" needs function = "module:attribute"')
        if self.kind == "rubric" and not self.rubric:
            raise ValueError('kind = "rubric" needs rubric = "…"')
        return self


class Search(_Table):
    """How long, and how wide."""

    steps: int = Field(default=3, ge=1)
    batch: int = Field(default=8, ge=1)
    """Training rows that one step learns from."""
    candidates: int = Field(default=8, ge=1)
    race: int = Field(default=8, ge=1)
    """Validation rows on which all candidates are compared first."""
    finalists: int = Field(default=2, ge=1)
    """Candidates that go on from the race."""
    validation: int = Field(default=40, ge=1)
    """Validation rows on which a finalist must beat the incumbent."""
    momentum: int = Field(default=0, ge=0)
    strategy: Literal["per_node", "per_edge", "fused"] = "per_node"


class Config(_Table):
    """All that a run is told."""

    program: str | None = None
    """"module:attribute": a Module, or fn(variables, row); None: one prompt and the input column."""
    engines: Engines = Engines()
    variables: dict[str, VariableTable] = Field(default_factory=dict)
    data: Data
    metric: Metric = Metric()
    search: Search = Search()


def load(path: Path) -> Config:
    """Read a run's TOML file; paths in it are relative to its folder.

    Raises:
        UsageError: It cannot be read, or says something unknown; the message names file, line and key.
    """
    try:
        source = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(source, path)


def parse(source: str, path: Path) -> Config:
    """`load()` for a text that came from `path`."""
    try:
        config = Config.model_validate(tomllib.loads(source))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        keys = [str(each) for each in first["loc"]]
        known = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise UsageError(f"{path}:{_line_of(source, keys)}: {'.'.join(keys) or 'the file'}: {known}") from error
    return _placed(config, path.parent)


def _placed(config: Config, folder: Path) -> Config:
    data = config.data.model_copy(
        update={name: folder / getattr(config.data, name) for name in ("train", "validation", "test")}
    )
    variables = {
        name: each if each.file is None else each.model_copy(update={"file": folder / each.file})
        for name, each in config.variables.items()
    }
    return config.model_copy(update={"data": data, "variables": variables})


def _line_of(source: str, keys: list[str]) -> int:
    """The line where the last of `keys` that stands in the file is set; 1 where none does."""
    lines = source.splitlines()
    found = 0
    for key in keys:
        written = re.compile(rf"(^|[\s.{{,\[\"']){re.escape(key)}[\"']?\s*([=\].])")
        for number in range(found, len(lines)):
            if written.search(lines[number]):
                found = number
                break
    return found + 1
