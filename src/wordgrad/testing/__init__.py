"""Test your own pipeline without a model: engines that follow a script, a clock that does not tick, a fake server."""

from __future__ import annotations

from wordgrad.testing.clock import VirtualClock
from wordgrad.testing.contract import EngineContract
from wordgrad.testing.engines import Call, Reply, RuleEngine, ScriptedEngine
from wordgrad.testing.server import Answer, FakeServer

__all__ = ["Answer", "Call", "EngineContract", "FakeServer", "Reply", "RuleEngine", "ScriptedEngine", "VirtualClock"]
