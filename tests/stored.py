"""What another program would read in a store's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def rows(store: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows that a query finds."""
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute(sql).fetchall()
