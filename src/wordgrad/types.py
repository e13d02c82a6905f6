"""The values and protocols that the layers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from wordgrad.errors import BudgetExceeded, EngineError

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

Index: TypeAlias = tuple[int, ...]
"""A creation index: the index of the call whose body made it, then its number in that body."""

Role: TypeAlias = Literal["system", "user", "assistant"]
Purpose: TypeAlias = Literal["forward", "backward", "optimize", "judge", "preflight"]
Finish: TypeAlias = Literal["stop", "length", "refusal"]


@dataclass(frozen=True, slots=True)
class ImageData:
    """The bytes of one image, as an engine sends them."""

    media_type: str
    """"image/png", "image/jpeg", "image/gif" or "image/webp"."""
    data: bytes


Part: TypeAlias = str | ImageData


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; its parts are sent in order."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined by newlines; images are left out."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a reply is drawn. None means that the parameter is not sent: the server's default holds."""

    max_tokens: int = 2048
    """Output limit, reasoning tokens included."""
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    timeout_s: float = 300.0
    """Seconds one attempt may take, queueing in the server included. Not part of the request key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one engine call asks."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    schema: Mapping[str, JSON] | None = None
    """A JSON schema of the reply; sent only to an engine whose capabilities name it."""
    sample: tuple[int, ...] = (0,)
    """Which draw of this request is wanted; another index is another reply."""
    purpose: Purpose = "forward"
    template: str = ""
    """sha256 of the prompt template that made the messages; "" where a user's own text did."""
    node: str = ""
    """Who asks: the role of the call's output, also of its critic; of a rewrite the parameter's name. Not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one reply, as the server counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    """Reasoning tokens included."""
    cached_input_tokens: int = 0
    """The part of `input_tokens` that the server read from its prefix cache."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What one engine call answered."""

    text: str
    finish: Finish = "stop"
    """"length" also where the reply used its whole limit and the server called it complete."""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """The model's name as the server reported it."""
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine and its model can do, declared and never assumed."""

    schema: bool = False
    images: bool = False
    temperature: bool = True
    top_p: bool = True
    stop: bool = True
    context_tokens: int | None = None
    """Input and output together; None where unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens."""

    input_usd: float
    output_usd: float
    cached_input_usd: float | None = None
    """None: cached input costs what input costs."""

    def cost_usd(self, usage: Usage) -> float:
        """The price of one reply."""
        cached = self.input_usd if self.cached_input_usd is None else self.cached_input_usd
        fresh = usage.input_tokens - usage.cached_input_tokens
        return (
            fresh * self.input_usd + usage.cached_input_tokens * cached + usage.output_tokens * self.output_usd
        ) / 1_000_000


class Engine(Protocol):
    """A model behind one method. Implement this to bring your own."""

    @property
    def name(self) -> str:
        """What users call it and reports show: "openai:gpt-4o", "local"."""

    @property
    def endpoint(self) -> str:
        """Where it answers, without credentials; part of the request key."""

    @property
    def model(self) -> str:
        """The model's name as it is sent; part of the request key."""

    @property
    def capabilities(self) -> Capabilities:
        """What may be asked of it."""

    @property
    def price(self) -> Price | None:
        """None where unknown; a money budget then refuses to start."""

    @property
    def max_in_flight(self) -> int:
        """How many calls it can usefully carry at once."""

    async def complete(self, request: Request) -> Completion:
        """Answer one request, in one attempt.

        Raises:
            EngineError: The server refused, failed or could not be reached.
        """

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`: exact where a tokenizer is at hand, else a stated upper bound."""


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement: a number where there is one, and words."""

    value: float | None
    """None: the metric could not judge (an error is not a zero)."""
    feedback: str = ""
    notes: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """What is wrong with what came before the output, by its name or role: feedback that begins there."""
    tags: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """What kind of example it is, as {"language": "fr"}: reports give the scores of each kind."""


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """What a run recorded of one engine call: which request, and the error where it had no reply."""

    key: str
    error: EngineError | BudgetExceeded | None


class Ledger(Protocol):
    """A run's record of its engine calls.

    What is awaited is committed when it returns, and all that was written before it.
    """

    def row(self, index: Index, call: int) -> PlaceRow | None:
        """The record of a place; None where the run has not come there yet."""

    def reply(self, key: str) -> Completion | None:
        """The one reply that this key has in this run."""

    def earlier(self, key: str) -> EngineError | None:
        """The next failed attempt of this key that no place has used, each once: made before the run was killed."""

    async def shared(self, key: str, request: Request) -> Completion | None:
        """A reply of another run, where this one may use it; it is this run's from then on."""

    async def sent(self, engine: Engine, request: Request, key: str) -> int:
        """Journal an attempt before it goes out; returns its number."""

    def done(self, attempt: int, key: str, completion: Completion, cost_usd: float | None) -> None:
        """Its reply."""

    def failed(self, attempt: int, key: str, error: EngineError) -> None:
        """Its error."""

    async def placed(self, index: Index, call: int, row: PlaceRow) -> None:
        """The outcome of a place."""

    async def event(self, kind: str, **body: JSON) -> None:
        """Something that the clock decided, or that a reader of the run should know."""


class RunContext(Protocol):
    """What the graph needs to know of the run that it is built in (`wordgrad.Run`)."""

    @property
    def seed(self) -> int:
        """The run's seed."""

    @property
    def secret(self) -> bytes:
        """Kept in the run's ledger; fences are derived from it."""

    def wrap(self, engine: Engine) -> Engine:
        """The engine with replay, cache, retries, budget, limits and ledger around it; one for each engine."""

    async def recall(self, *, index: Index, name: str, source: str, inputs: str) -> tuple[JSON] | None:
        """The recorded result of an impure function's call, in a tuple of one; None where there is none yet.

        Args:
            index: The call's creation index.
            name: The function's qualified name.
            source: sha256 of its source.
            inputs: sha256 of its inputs' text forms.

        Raises:
            StoreError: The record at `index` has another name, source or inputs: the program changed.
        """

    async def record(self, *, index: Index, name: str, source: str, inputs: str, value: JSON) -> None:
        """Keep the result of an impure function's call; returns once it is committed."""
