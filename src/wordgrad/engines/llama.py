"""llama.cpp's server inside this process: one for each model file, shared, stopped at exit."""

from __future__ import annotations

import atexit
import ctypes
import functools
import importlib
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordgrad.dispatch.process import after_fork
from wordgrad.errors import UsageError

CONTEXT_TOKENS = 8192
"""Input and output of one request together."""

_MOST_SLOTS = 8
_SLOT_BYTES = 256 << 20
"""What the context of one slot takes of memory, by the default model: 28 KiB a token."""
_MAX_THREADS = 16
_PROMPT_CACHE_MIB = 1024


def slots() -> int:
    """Requests worked on at once: one a core up to 8, as far as a quarter of the memory holds their contexts.

    Reading prompts is what takes the time, and each slot reads a shared prefix for itself. Calls a second with 1, 2 and
    4 slots on two cores (one run each, on a machine with other work: good to a fifth): one-word replies 1.9, 1.6, 1.5;
    replies of 24 tokens 0.7, 0.7, 0.8; a new prefix every six calls 1.4, 1.3, 0.7.
    """
    return max(1, min(_MOST_SLOTS, _cores(), _memory() // 4 // _SLOT_BYTES))


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int:
    """Bytes of the machine; where it does not tell, as many as the most slots need."""
    if not hasattr(os, "sysconf"):  # Windows
        return 4 * _MOST_SLOTS * _SLOT_BYTES
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Server:
    """Where a started server answers, and to whom."""

    address: str
    api_key: str
    handle: object
    """Freeing it stops the server."""


def library() -> Any:  # noqa: ANN401 - it has no types
    """llama.cpp for Python.

    Raises:
        UsageError: Extra `local` is not installed.
    """
    try:
        return importlib.import_module("xllamacpp")  # 60 ms
    except ImportError as error:
        raise UsageError('the engine "local" needs an extra: run `pip install "wordgrad[local]"`') from error


_starting = threading.Lock()


def server(path: Path) -> Server:
    """The server of a model file, started by the first call (seconds: it reads the file).

    A process that forks should call this first: its children then use the parent's server. Without that each child
    starts its own.

    Raises:
        UsageError: Extra `local` is not installed, or the file cannot be read as a model.
    """
    with _starting:
        return _started(path.resolve())


@functools.cache
def _started(path: Path) -> Server:
    xllamacpp = library()
    api_key = secrets.token_urlsafe(32)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {path.name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [api_key]
    params.ui = params.endpoint_slots = params.fit_params = False
    params.verbosity = -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = min(_MAX_THREADS, _cores())
    params.n_parallel = slots()
    params.n_ctx = slots() * CONTEXT_TOKENS
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    try:
        handle = xllamacpp.Server(params)
    except RuntimeError as error:
        raise UsageError(f"{str(path)!r} cannot be loaded as a GGUF model: {error}") from error
    _end_with_process(handle)
    return Server(address=handle.listening_address, api_key=api_key, handle=handle)


def _end_with_process(handle: object) -> None:
    after_fork(lambda: _abandon(handle))
    owner = os.getpid()

    @atexit.register
    def stop() -> None:
        if os.getpid() == owner:
            _started.cache_clear()


def _abandon(handle: object) -> None:
    # The server's threads are not copied by fork. A child that frees its copy, or runs the static destructors of
    # llama.cpp when it exits, waits for them for ever (seen) or crashes (seen): it must do neither.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc's; it gives the exit status to what it calls first
        libc.on_exit(libc._exit, None)  # noqa: SLF001 - that is its name
