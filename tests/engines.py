"""One engine for tests of whole pipelines: it answers by what a request is for, and can tell who was asked what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import wordgrad as wg
from wordgrad.testing import Reply, RuleEngine, VirtualClock
from wordgrad.types import JSON, Purpose, Request

Said = Callable[[Request], Reply]

_ASKED = re.compile(r"Answer for ((?:P\d+)(?:, P\d+)*)")
_CHANGE = {"verdict": "mine", "severity": 2, "quote": "", "change": "Be exact.", "keep": ""}


def verdicts(request: Request, **changes: str) -> Mapping[str, JSON]:
    """A critic's reply on every part that it was asked about; `P1="…"` is the change wanted of that part."""
    found = _ASKED.search(request.messages[-1].text)
    assert found is not None, "no critic was asked"
    parts: list[JSON] = [{**_CHANGE, "part": label, **_change(changes, label)} for label in found[1].split(", ")]
    assert request.schema is not None, "the engine has schemas"
    return {"parts": parts} if request.schema["title"] == "NodeReply" else parts[0]  # type: ignore[return-value]


def _change(changes: Mapping[str, str], label: str) -> dict[str, str]:
    return {"change": changes[label]} if label in changes else {}


class Model(RuleEngine):
    """Answers forward calls with `reply`, judges with `judgement`, critics with `critic`, optimizers with `rewrite`."""

    def __init__(
        self,
        reply: Reply | Said = "an answer",
        *,
        judgement: Reply | Said = "It is wrong.",
        critic: Reply | Said = verdicts,
        rewrite: Reply | Said = {"value": "a better text"},  # noqa: B006 - only read
        **options: Any,
    ) -> None:
        by_purpose: dict[Purpose, Reply | Said] = {
            "forward": reply,
            "judge": judgement,
            "backward": critic,
            "optimize": rewrite,
        }

        def rule(request: Request) -> Reply:
            said = by_purpose[request.purpose]
            return said(request) if callable(said) else said

        super().__init__(rule, clock=VirtualClock(), **options)

    def asked(self, purpose: Purpose) -> list[str]:
        """The last message of each call for `purpose`, in creation order."""
        return [call.prompt for call in self.history if call.request.purpose == purpose]

    def count(self, purpose: Purpose) -> int:
        """How many calls there were for `purpose`."""
        return len(self.asked(purpose))

    @property
    def rounds(self) -> int:
        """The length of the longest chain of calls so far."""
        assert self.clock is not None
        return self.clock.rounds


def prompt(value: object = "Answer.", role: str = "system prompt") -> wg.Variable:
    """A text to train."""
    return wg.Variable(value, role, requires_grad=True)


def texts(variable: wg.Variable) -> list[str]:
    """The requested changes on a Variable, in order."""
    return [gradient.text for gradient in variable.gradients]
