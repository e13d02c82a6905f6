"""Two hundred runs in bad weather: storms of refusals, outages, an engine that dies; none loses anything."""

from __future__ import annotations

import json
import random

import pytest

import wordgrad as wg
from project import Project, Pupil, found, project
from stored import rows
from wordgrad.testing import Reply
from wordgrad.types import Purpose, Request

__all__ = ["project"]

BUSY = wg.EngineError("slow down", retryable=True, status=429, retry_after_s=0.0)
DOWN = wg.EngineError("the service is down", retryable=True, status=503, retry_after_s=0.0)
DEAD = wg.EngineError("the key was withdrawn", retryable=False, status=401)
ANSWERED = "SELECT purpose, count(DISTINCT key), count(*) FROM attempts WHERE state = 'done' GROUP BY purpose"
LOST = "SELECT count(*) FROM attempts WHERE state = 'lost'"
PURPOSES: list[Purpose] = ["forward", "backward", "optimize"]


class Weather(Pupil):
    """Storms of some calls, outages that no retries outlast, and one purpose's engine dead from some call on.

    Args:
        seed: Of what goes wrong, and when.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = random.Random(seed)
        self.calls = 0
        self.faults = 0
        self.storms = [(start, start + rng.randint(1, 8)) for start in rng.sample(range(60), rng.randint(0, 4))]
        self.outages = [(start, start + rng.randint(10, 60)) for start in rng.sample(range(80), rng.randint(0, 2))]
        self.dead_from = rng.randrange(60) if rng.random() < 0.5 else None
        self.dead: Purpose = rng.choice(PURPOSES)

    def mend(self) -> None:
        """Somebody renews the key."""
        self.dead_from = None

    def said(self, request: Request) -> Reply:
        self.calls += 1
        error = self._error(request)
        if error is None:
            return super().said(request)
        self.faults += 1
        return error

    def _error(self, request: Request) -> wg.EngineError | None:
        if self.dead_from is not None and self.calls > self.dead_from and request.purpose == self.dead:
            return DEAD
        if any(start <= self.calls < end for start, end in self.outages):
            return DOWN
        return BUSY if any(start <= self.calls < end for start, end in self.storms) else None


@pytest.mark.timeout(600)
def test_nothing_is_lost_in_bad_weather(project: Project) -> None:
    """Each run ends as the calm one, at once or after it was resumed: no error ever became a score."""
    calm = found(project.run("optimize", project.config, "--json")[1])
    calm_requests = rows(project.store, ANSWERED)
    faults, stops = 0, 0
    for seed in range(200):
        project.store.unlink()
        weather = Weather(seed)
        project.engine(weather)
        code, out, err = project.run("optimize", project.config, "--json")
        while code:
            assert code == 4, err
            stops += 1
            weather.mend()
            (run,) = (each[0] for each in rows(project.store, "SELECT id FROM runs"))
            code, out, err = project.run("runs", "resume", run, "--json")
        faults += weather.faults

        assert (seed, found(out)) == (seed, calm)
        assert rows(project.store, ANSWERED) == calm_requests
        # Each call that the engine got was journalled before; one that was cancelled just then may not have got there.
        asked, ((lost,),) = len(weather.history), rows(project.store, LOST)
        assert asked <= json.loads(out)["calls"] <= asked + lost

    assert faults > 1_000
    assert stops > 100
