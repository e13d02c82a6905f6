"""Automatic differentiation for text.

    import wordgrad as wg

Names are loaded when they are first used; importing this package does nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wordgrad.compose.preflight import Preflight as Preflight
    from wordgrad.compose.result import Result as Result
    from wordgrad.compose.run import Budget as Budget
    from wordgrad.compose.run import Run as Run
    from wordgrad.compose.trainer import Trainer as Trainer
    from wordgrad.core.backward import abackward as abackward
    from wordgrad.core.backward import backward as backward
    from wordgrad.core.function import Context as Context
    from wordgrad.core.function import Function as Function
    from wordgrad.core.function import no_grad as no_grad
    from wordgrad.core.gradient import Gradient as Gradient
    from wordgrad.core.graph import to_mermaid as to_mermaid
    from wordgrad.core.module import Module as Module
    from wordgrad.core.text import format as format
    from wordgrad.core.text import join as join
    from wordgrad.core.text import sum as sum
    from wordgrad.core.variable import Variable as Variable
    from wordgrad.data.examples import examples as examples
    from wordgrad.data.rows import Row as Row
    from wordgrad.data.split import Splits as Splits
    from wordgrad.data.split import split as split
    from wordgrad.dispatch import amap as amap
    from wordgrad.dispatch import eager as eager
    from wordgrad.dispatch import gather as gather
    from wordgrad.dispatch import map as map
    from wordgrad.engines import get_engine as get_engine
    from wordgrad.engines.defaults import backward_engine as backward_engine
    from wordgrad.engines.defaults import set_backward_engine as set_backward_engine
    from wordgrad.engines.limited import Limited as Limited
    from wordgrad.errors import BudgetExceeded as BudgetExceeded
    from wordgrad.errors import EngineError as EngineError
    from wordgrad.errors import GraphError as GraphError
    from wordgrad.errors import NodeError as NodeError
    from wordgrad.errors import ProposalRejected as ProposalRejected
    from wordgrad.errors import StoreError as StoreError
    from wordgrad.errors import UnreadableReply as UnreadableReply
    from wordgrad.errors import UsageError as UsageError
    from wordgrad.errors import WordgradError as WordgradError
    from wordgrad.functions.image import Image as Image
    from wordgrad.functions.llm import BlackboxLLM as BlackboxLLM
    from wordgrad.functions.llm import FormattedLLMCall as FormattedLLMCall
    from wordgrad.functions.llm import LLMCall as LLMCall
    from wordgrad.functions.llm import MultimodalLLMCall as MultimodalLLMCall
    from wordgrad.functions.llm import llm_call as llm_call
    from wordgrad.functions.python import function as function
    from wordgrad.functions.strategies import fused as fused
    from wordgrad.functions.strategies import per_edge as per_edge
    from wordgrad.functions.strategies import per_node as per_node
    from wordgrad.losses.judge import JudgeLoss as JudgeLoss
    from wordgrad.losses.judge import PairwiseLoss as PairwiseLoss
    from wordgrad.losses.judge import TextLoss as TextLoss
    from wordgrad.losses.metric import MetricLoss as MetricLoss
    from wordgrad.losses.objectives import objectives as objectives
    from wordgrad.optim.constraints import KeepSlots as KeepSlots
    from wordgrad.optim.constraints import MatchesSchema as MatchesSchema
    from wordgrad.optim.constraints import MaxCharacters as MaxCharacters
    from wordgrad.optim.constraints import MaxTokens as MaxTokens
    from wordgrad.optim.constraints import ParsesAs as ParsesAs
    from wordgrad.optim.constraints import Predicate as Predicate
    from wordgrad.optim.proposal import Proposal as Proposal
    from wordgrad.optim.proposal import StepResult as StepResult
    from wordgrad.optim.tgd import TGD as TGD
    from wordgrad.optim.tgd import TextualGradientDescent as TextualGradientDescent
    from wordgrad.train.accept import Acceptance as Acceptance
    from wordgrad.train.evaluate import Guardrail as Guardrail
    from wordgrad.train.known import Known as Known
    from wordgrad.train.plan import Plan as Plan
    from wordgrad.types import Capabilities as Capabilities
    from wordgrad.types import Completion as Completion
    from wordgrad.types import Engine as Engine
    from wordgrad.types import Request as Request
    from wordgrad.types import Sampling as Sampling
    from wordgrad.types import Score as Score

_HOMES = {
    "compose.preflight": ("Preflight",),
    "compose.result": ("Result",),
    "compose.run": ("Budget", "Run"),
    "compose.trainer": ("Trainer",),
    "core.backward": ("abackward", "backward"),
    "core.function": ("Context", "Function", "no_grad"),
    "core.gradient": ("Gradient",),
    "core.graph": ("to_mermaid",),
    "core.module": ("Module",),
    "core.text": ("format", "join", "sum"),
    "core.variable": ("Variable",),
    "data.examples": ("examples",),
    "data.rows": ("Row",),
    "data.split": ("Splits", "split"),
    "dispatch": ("amap", "eager", "gather", "map"),
    "engines": ("get_engine",),
    "engines.defaults": ("backward_engine", "set_backward_engine"),
    "engines.limited": ("Limited",),
    "errors": (
        "BudgetExceeded",
        "EngineError",
        "GraphError",
        "NodeError",
        "ProposalRejected",
        "StoreError",
        "UnreadableReply",
        "UsageError",
        "WordgradError",
    ),
    "functions.image": ("Image",),
    "functions.llm": ("BlackboxLLM", "FormattedLLMCall", "LLMCall", "MultimodalLLMCall", "llm_call"),
    "functions.python": ("function",),
    "functions.strategies": ("fused", "per_edge", "per_node"),
    "losses.judge": ("JudgeLoss", "PairwiseLoss", "TextLoss"),
    "losses.metric": ("MetricLoss",),
    "losses.objectives": ("objectives",),
    "optim.constraints": ("KeepSlots", "MatchesSchema", "MaxCharacters", "MaxTokens", "ParsesAs", "Predicate"),
    "optim.proposal": ("Proposal", "StepResult"),
    "optim.tgd": ("TGD", "TextualGradientDescent"),
    "train.accept": ("Acceptance",),
    "train.evaluate": ("Guardrail",),
    "train.known": ("Known",),
    "train.search": ("Plan",),
    "types": ("Capabilities", "Completion", "Engine", "Request", "Sampling", "Score"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - a list of the names above


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'wordgrad' has no attribute {name!r}")
    value = getattr(import_module(f"wordgrad.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
