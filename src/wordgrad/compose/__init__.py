"""The composition root: where runs meet their store, their engines and their training."""

from wordgrad.compose.run import Budget, Replay, Run, Totals

__all__ = ["Budget", "Replay", "Run", "Totals"]
