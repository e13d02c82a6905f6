"""Tells the server which phase begins, and prints how long it took. For any Python, without a dependency."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from urllib.request import urlopen


@contextmanager
def phase(address: str, name: str) -> Generator[None]:
    """The calls in this block are those of a phase."""
    urlopen(f"{address}/phase", name.encode()).read()  # noqa: S310 - a server on this machine
    start = time.monotonic()
    yield
    print(json.dumps({"phase": name, "seconds": time.monotonic() - start}), flush=True)
