"""One run's results of impure functions: replayed when it is resumed, and shared with other runs by the cache."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass

from wordgrad import dispatch
from wordgrad.errors import StoreError
from wordgrad.store.database import Database, keep, kept
from wordgrad.store.ledger import place_of
from wordgrad.types import JSON, Index


@dataclass(frozen=True, slots=True)
class _Recorded:
    name: str
    source: str
    inputs: str
    value: JSON


class Results:
    """What `wordgrad.types.RunContext` says of `recall` and `record`, on a `Database`.

    What was read at the start and written since is kept in memory, as the ledger keeps its rows.

    Args:
        database: Where the rows are.
        run: The run's id; its row exists.
        cache: Whether results of other runs may be used.
    """

    def __init__(self, database: Database, run: str, *, cache: bool) -> None:
        self._database = database
        self._run = run
        self._cache = cache
        self._recorded: dict[str, _Recorded] = {}
        self._samples: Counter[tuple[str, ...]] = Counter()
        """How often the same call was made, as far as its results may be those of other runs."""
        for each in self._database.read(
            "SELECT r.*, t.body FROM results r JOIN texts t ON t.hash = r.value WHERE r.run = ?", self._run
        ):
            value = json.loads(kept(each["body"]))
            self._recorded[each["place"]] = _Recorded(each["name"], each["source"], each["inputs"], value)
            self._samples[each["name"], each["source"], each["inputs"]] += 1

    async def recall(self, *, index: Index, name: str, source: str, inputs: str) -> tuple[JSON] | None:
        """See `RunContext.recall`."""
        found = self._recorded.get(place_of(index))
        if found is None:
            return await self._shared_result(index=index, name=name, source=source, inputs=inputs)
        for what, recorded, now in (
            ("another function", found.name, name),
            ("another source", found.source, source),
            ("other inputs", found.inputs, inputs),
        ):
            if recorded != now:
                raise StoreError(
                    f"run {self._run}: the program changed: the call {place_of(index)!r} of {name} was recorded with "
                    f"{what} ({recorded[:40]!r}, now {now[:40]!r}). Resume it with the program that made it, "
                    "or start a new run: with the cache on (--cache, cache=True) it pays only for what differs"
                )
        return (found.value,)

    async def _shared_result(self, *, index: Index, **content: str) -> tuple[JSON] | None:
        """What the latest other run got of the same call; of several such calls the n-th has what the n-th had."""
        if not self._cache:
            return None
        asked = tuple(content[name] for name in ("name", "source", "inputs"))
        found = self._database.read(
            "SELECT t.body FROM results r JOIN texts t ON t.hash = r.value "
            "WHERE r.name = ?1 AND r.source = ?2 AND r.inputs = ?3 AND r.run = "
            "(SELECT o.run FROM results o JOIN runs ON runs.id = o.run "
            "WHERE o.name = ?1 AND o.source = ?2 AND o.inputs = ?3 AND o.run != ?4 ORDER BY started_at DESC LIMIT 1) "
            "ORDER BY r.place LIMIT 1 OFFSET ?5",
            *asked,
            self._run,
            self._samples[asked],
        )
        self._samples[asked] += 1
        if not found:
            return None
        value = json.loads(kept(found[0]["body"]))
        await self.record(index=index, **content, value=value)
        return (value,)

    async def record(self, *, index: Index, name: str, source: str, inputs: str, value: JSON) -> None:
        """See `RunContext.record`."""
        place = place_of(index)
        text = json.dumps(value)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)",
                (self._run, place, name, source, inputs, keep(connection, text)),
            )

        await dispatch.arrived(self._database.write(change))
        self._recorded[place] = _Recorded(name, source, inputs, value)
