"""What stands between a caller and an engine."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from wordgrad import context
from wordgrad.engines.breaker import Breaker
from wordgrad.engines.budgeted import Budgeted, Meter
from wordgrad.engines.cached import Cached, Flight
from wordgrad.engines.limited import Limited
from wordgrad.engines.recorded import Recorded
from wordgrad.engines.replayed import Replayed
from wordgrad.engines.retried import Retried
from wordgrad.types import Engine, Ledger

_outside: WeakKeyDictionary[Engine, Engine] = WeakKeyDictionary()  # limits hold for an engine, whoever calls it


def wrapped(engine: Engine) -> Engine:
    """The engine as calls made here get it: the run's stack, or retries and limits alone outside one."""
    run = context.run.get()
    if run is not None:
        return run.wrap(engine)
    found = _outside.get(engine)
    if found is None:
        found = _outside[engine] = Retried(Limited(engine))
    return found


def recorded(engine: Engine, ledger: Ledger, meter: Meter, flights: dict[str, Flight]) -> Engine:
    """The stack of a run: replay comes first, every attempt is budgeted, and journalled when it is really sent."""
    sent = Budgeted(Limited(Recorded(engine, ledger)), meter)
    return Replayed(Cached(Breaker(Retried(sent, ledger)), ledger, flights), ledger)
