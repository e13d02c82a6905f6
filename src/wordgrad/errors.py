"""Every error that wordgrad raises.

WordgradError
├── UsageError          a mistake in the calling code or its configuration
├── GraphError          a graph that cannot be built, read or differentiated
│   └── NodeError       one node's call failed; names the node
├── EngineError         a model server refused, failed or could not be reached
├── BudgetExceeded      a limit on calls, tokens, money or seconds was reached
├── UnreadableReply     a model's reply, and its repair, had not the asked-for form
├── ProposalRejected    a rewrite that `apply()` refuses
└── StoreError          the store cannot be opened, read or written
"""

from __future__ import annotations

_OF_THE_REQUEST = (400, 413, 422)
_OF_THE_ACCOUNT = ("credit balance", "billing", "quota")


class WordgradError(Exception):
    """The root: everything that wordgrad raises on purpose."""


class UsageError(WordgradError):
    """The caller, or a configuration file, asked for something that cannot be done."""


class GraphError(WordgradError):
    """The graph cannot be built, read or differentiated as asked."""


class NodeError(GraphError):
    """One node's call failed; every Variable computed from it fails with this same error."""

    def __init__(self, message: str, *, function: str, role: str, example: str | None = None) -> None:
        super().__init__(message)
        self.function = function
        self.role = role
        self.example = example


class EngineError(WordgradError):
    """A model server refused, failed or could not be reached. Never feedback on a prompt."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        status: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether the same request can succeed later (429, 5xx, timeouts, connections)."""
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    @property
    def refused(self) -> bool:
        """Whether the server refused this one request, for what it says or how long it is; others may pass.

        An account without money answers no other request either, and some servers say 400 then, too.
        """
        account = any(each in str(self).casefold() for each in _OF_THE_ACCOUNT)
        return not self.retryable and self.status in _OF_THE_REQUEST and not account


class BudgetExceeded(WordgradError):  # noqa: N818 - the field's name for it, and the contract's
    """A call was refused because a limit is spent.

    Args:
        kind: "calls", "tokens", "usd" or "seconds".
        spent: What was used before the refused call, in the unit of `kind`.
        limit: The limit, in the same unit.
    """

    def __init__(self, message: str, *, kind: str, spent: float, limit: float) -> None:
        super().__init__(message)
        self.kind = kind
        self.spent = spent
        self.limit = limit


class UnreadableReply(WordgradError):  # noqa: N818 - it says what it is
    """A model's reply had not the form that was asked for; the message says what was wrong with it."""


class ProposalRejected(WordgradError):  # noqa: N818 - the contract's name
    """`apply()` refused a proposal; `reasons` says why, one line each. No value was changed."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class StoreError(WordgradError):
    """The store cannot be opened, read or written; what was committed is still there."""
