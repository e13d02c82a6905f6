"""The one background loop: calls return at once, and run when their inputs are there.

A call that waits is a counter, not a task. All state of calls belongs to the loop's thread; other threads send it
messages, in batches.
"""

from __future__ import annotations

from wordgrad.dispatch.calls import abandon, arrived, arun, eager, first_error, quiet, run, start, submit, together
from wordgrad.dispatch.examples import amap, gather, is_async, map
from wordgrad.dispatch.pending import Pending
from wordgrad.dispatch.place import Label, calling, here, next_index

__all__ = [
    "Label",
    "Pending",
    "abandon",
    "amap",
    "arrived",
    "arun",
    "calling",
    "eager",
    "first_error",
    "gather",
    "here",
    "is_async",
    "map",
    "next_index",
    "quiet",
    "run",
    "start",
    "submit",
    "together",
]
