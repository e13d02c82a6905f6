"""What a run did before is read, not done again."""

from __future__ import annotations

from wordgrad import context
from wordgrad.engines.key import keyed
from wordgrad.engines.wrapper import Wrapper
from wordgrad.errors import BudgetExceeded, EngineError, StoreError
from wordgrad.types import Completion, Engine, Ledger, PlaceRow, Request


class Replayed(Wrapper):
    """Gives each call its place in the run, and answers from the ledger where that place is known.

    Args:
        inner: Who answers what is new.
        ledger: The run's.
    """

    def __init__(self, inner: Engine, ledger: Ledger) -> None:
        super().__init__(inner)
        self._ledger = ledger

    async def complete(self, request: Request) -> Completion:
        """The recorded outcome, else the engine's, which is recorded before the graph sees it.

        Raises:
            StoreError: The record at this place is of another request: the program changed.
            EngineError: The call failed, now or when it was recorded.
            BudgetExceeded: The budget had no room for it.
        """
        body = context.body.get()
        index, call = body.index, body.next_call()
        asked = keyed(self.inner, request)
        row = self._ledger.row(index, call)
        if row is not None:
            return self._recorded(row, asked.key, place=f"{'.'.join(map(str, index))}/{call}")
        try:
            completion = await self.inner.complete(asked)
        except (EngineError, BudgetExceeded) as error:
            await self._ledger.placed(index, call, PlaceRow(asked.key, error))
            raise
        await self._ledger.placed(index, call, PlaceRow(asked.key, None))
        return completion

    def _recorded(self, row: PlaceRow, key: str, *, place: str) -> Completion:
        reply = self._ledger.reply(row.key)
        if row.key != key:
            raise StoreError(
                f"the program changed: at {place} the run recorded another request than {self.name!r} is asked now. "
                "Resume it with the program, the data and the settings that made it, or start a new run: with the "
                "cache on (--cache, cache=True) it pays only for what differs"
            )
        if row.error is not None:
            raise row.error
        if reply is None:  # a reply is committed before its place
            raise StoreError(f"the run's record is damaged: at {place} stands a call whose reply is not there")
        return reply


class Unrecorded(Wrapper):
    """Stands where the engine was when a run is only derived once more: what has no record is not asked."""

    async def complete(self, request: Request) -> Completion:
        """Always raises.

        Raises:
            StoreError: The run recorded no call here, so it was another program, or other data.
        """
        place = ".".join(map(str, context.body.get().index))
        raise StoreError(
            f"the program changed: {self.name!r} is asked ({request.purpose}) at {place}, and the run recorded no such "
            "call. Replay it with the program, the data and the settings that made it"
        )
