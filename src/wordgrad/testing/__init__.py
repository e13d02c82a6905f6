"""Test your own pipeline without a model: engines that follow a script, and a clock that does not tick."""

from __future__ import annotations

from wordgrad.testing.clock import VirtualClock
from wordgrad.testing.engines import Call, Reply, RuleEngine, ScriptedEngine

__all__ = ["Call", "Reply", "RuleEngine", "ScriptedEngine", "VirtualClock"]
