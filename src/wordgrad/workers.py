"""Worker threads for plain Python code, behind places of our own."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

_IDLE_S = 10.0


class Job(NamedTuple):
    """What a thread is to run."""

    run: Callable[[], None]
    refuse: Callable[[], None]
    """Called instead where no thread can be had."""
    nested: bool
    """It was started from the body of another, which may wait for it."""


class Workers:
    """Runs jobs in threads, at most `places` at once.

    A job that blocks gives its place back (`leave`) and takes one again without waiting (`enter`): the count may then
    overdraw, and only new starts wait. With anyio's limiter, nested calls and a lock held over a read deadlock.
    Nested jobs do not wait either, while half of the threads are left: all places may be held by jobs that wait for a
    lock, whose holder waits for a nested job.

    Args:
        places: Jobs that may run at once.
        max_threads: Threads that may exist, blocked ones included.
    """

    def __init__(self, *, places: int | None = None, max_threads: int = 1024) -> None:
        self.places = places or min(32, (os.cpu_count() or 1) + 4)
        self.max_threads = max_threads
        self._lock = threading.Lock()
        self._taken = 0
        self.threads = 0
        """Threads that there are."""
        self._waiting: deque[Job] = deque()
        self._nested: deque[Job] = deque()
        self._idle: list[queue.SimpleQueue[Job | None]] = []

    def start(self, job: Job) -> None:
        """Run `job` in a thread as soon as a place is free; refuse it where a place is free but no thread is."""
        with self._lock:
            (self._nested if job.nested else self._waiting).append(job)
        self._fill()

    def leave(self) -> None:
        """Give the calling job's place back while it blocks."""
        with self._lock:
            self._taken -= 1
        self._fill()

    def enter(self) -> None:
        """Take a place again, at once."""
        with self._lock:
            self._taken += 1

    def _fill(self) -> None:
        while True:
            with self._lock:
                job = self._pop()
                if job is None:
                    return
                full = not self._idle and self.threads >= self.max_threads
                inbox = self._idle.pop() if self._idle else None
                if not full:
                    self._taken += 1
                    self.threads += inbox is None
            if full:
                job.refuse()
            elif inbox is None:
                self._hire(job)
            else:
                inbox.put(job)

    def _pop(self) -> Job | None:
        free = self._taken < self.places
        if self._nested and (free or self._idle or self.threads < self.max_threads // 2):
            return self._nested.popleft()
        return self._waiting.popleft() if self._waiting and free else None

    def _hire(self, job: Job) -> None:
        try:
            threading.Thread(target=self._work, args=(job,), name="wordgrad-worker", daemon=True).start()
        except RuntimeError:  # the system has no more threads to give
            with self._lock:
                self._taken -= 1
                self.threads -= 1
            job.refuse()

    def _work(self, job: Job | None) -> None:
        inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        while job is not None:
            job.run()
            del job  # an idle thread would keep its call alive, and all that the call keeps
            with self._lock:
                self._taken -= 1
                self._idle.append(inbox)
            self._fill()
            job = self._next(inbox)

    def _next(self, inbox: queue.SimpleQueue[Job | None]) -> Job | None:
        try:
            return inbox.get(timeout=_IDLE_S)
        except queue.Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    self.threads -= 1
                    return None
            # A job was handed over in the same moment: two threads must meet to the microsecond for it.
            return inbox.get()  # pragma: no cover - see above
