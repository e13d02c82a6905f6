"""What stands between a caller and an engine."""

from __future__ import annotations

import os
from weakref import WeakKeyDictionary

import anyio

from wordgrad import context
from wordgrad.engines.breaker import Breaker
from wordgrad.engines.budgeted import Budgeted, Meter
from wordgrad.engines.cached import Cached, Flight
from wordgrad.engines.limited import Limited
from wordgrad.engines.recorded import Recorded
from wordgrad.engines.replayed import Replayed
from wordgrad.engines.retried import Retried
from wordgrad.types import Engine, Ledger

# Places in flight are an engine's, whoever calls it: runs that go on at the same time share them. A forked child has
# its own, for none of its parent's calls will ever give one back there.
_places: WeakKeyDictionary[Engine, anyio.CapacityLimiter] = WeakKeyDictionary()
os.register_at_fork(after_in_child=_places.clear)


def wrapped(engine: Engine) -> Engine:
    """The engine as calls made here get it: the run's stack, or retries and limits alone outside one."""
    run = context.run.get()
    if run is not None:
        return run.wrap(engine)
    return Retried(Limited(engine, in_flight=_places_of(engine)))


def recorded(engine: Engine, ledger: Ledger, meter: Meter, flights: dict[str, Flight]) -> Engine:
    """The stack of a run: replay comes first, every attempt is budgeted, and journalled when it is really sent."""
    sent = Budgeted(Limited(Recorded(engine, ledger), in_flight=_places_of(engine)), meter)
    return Replayed(Cached(Breaker(Retried(sent, ledger)), ledger, flights), ledger)


def _places_of(engine: Engine) -> anyio.CapacityLimiter:
    found = _places.get(engine)
    if found is None:
        found = _places[engine] = anyio.CapacityLimiter(engine.max_in_flight)
    return found
