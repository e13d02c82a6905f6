"""What stands between a caller and an engine."""

from __future__ import annotations

import weakref

from wordgrad import context
from wordgrad.dispatch.process import after_fork
from wordgrad.engines.breaker import Breaker
from wordgrad.engines.budgeted import Budgeted, InTurn, Meter
from wordgrad.engines.cached import Cached, Flight
from wordgrad.engines.limited import Limited, Places
from wordgrad.engines.recorded import Recorded
from wordgrad.engines.replayed import Replayed, Unrecorded
from wordgrad.engines.retried import Retried
from wordgrad.types import Engine, Ledger

# Places in flight are an engine's, whoever calls it: runs that go on at the same time share them. By identity: an
# engine need not be hashable. A forked child has its own, for none of its parent's calls will ever give one back there.
_places: dict[int, tuple[Places, Engine | None]] = {}
after_fork(_places.clear)


def wrapped(engine: Engine) -> Engine:
    """The engine as calls made here get it: the run's stack, or retries and limits alone outside one."""
    run = context.run.get()
    if run is not None:
        return run.wrap(engine)
    return Retried(_limited(engine))


def recorded(engine: Engine, ledger: Ledger, meter: Meter, flights: dict[str, Flight]) -> Engine:
    """The stack of a run: replay comes first, every attempt is budgeted, and journalled when it is really sent."""
    limited = _limited(engine)
    sent = Budgeted(limited.around(InTurn(Recorded(limited.inner, ledger), meter)), meter)
    return Replayed(Cached(Breaker(Retried(sent, ledger)), ledger, flights), ledger)


def replayed(engine: Engine, ledger: Ledger) -> Engine:
    """The stack of a run that is derived once more: a call that the ledger does not hold is an error."""
    return Replayed(Unrecorded(engine), ledger)


def _limited(engine: Engine) -> Limited:
    """The engine in its limits: a user's own, else what it can carry."""
    return engine if isinstance(engine, Limited) else Limited(engine, in_flight=_places_of(engine))


def _places_of(engine: Engine) -> Places:
    if id(engine) not in _places:
        kept = None
        try:
            weakref.finalize(engine, _places.pop, id(engine), None)
        except TypeError:  # it has __slots__: it is kept alive, or its id might become another's
            kept = engine
        _places.setdefault(id(engine), (Places(engine.max_in_flight), kept))
    return _places[id(engine)][0]
