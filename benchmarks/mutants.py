"""Which small changes of the core would no test notice? `mutmut` writes them, and this runs them, in some 25 minutes.

Pytest collects once, and each mutant meets its tests in a fork of that process, quickest first, up to the first that
fails. Before that each test runs alone in a fork, which shows what it reaches: what is made once in a process, such as
the library's loop, is put down to every test that needs it.

    uv pip install mutmut==3.8.1
    mutmut run none                                 # writes the mutants, and ends with an error: none has that name
    python benchmarks/mutants.py [PART OF A NAME …] # writes mutants/verdicts.json, and goes on from there
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

Test = tuple[float, pytest.Item]

IN_FLIGHT = 4  # many mutants hang, which costs no processor
SUBPROCESSES = "test_dispatch_failure"  # what its tests reach in processes of their own is not seen
MUTANTS = Path("mutants").resolve()
SCRATCH = tempfile.TemporaryDirectory(prefix="mutants-")
NO, YES = 10, 11  # what a process says by its exit code; any other is a fault
KILLED, SURVIVED = NO, YES


class Runner:
    """Takes the place of pytest's own loop over the tests."""

    def __init__(self, wanted: list[str]) -> None:
        self.wanted = wanted
        self.scratch = Path(SCRATCH.name)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Find what each test reaches, then run the mutants."""
        reached = self._reached(session.items)
        apart = [(1.0, item) for item in session.items if SUBPROCESSES in item.nodeid]
        kept = MUTANTS / "verdicts.json"
        verdicts: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
        names = [each for each in _names() if each not in verdicts and any(part in each for part in self.wanted)]

        def survives(name: str) -> bool:
            os.environ["MUTANT_UNDER_TEST"] = name
            tests = reached.get(re.sub(r"__mutmut_\d+$", "", name), [])
            unseen = [each for each in apart if ".dispatch." in name and each[1] not in [test for _, test in tests]]
            return not any(_fails(item, 3 + 6 * took) for took, item in [*tests, *unseen])

        for name, status in _forked(names, survives):
            if status not in (KILLED, SURVIVED, -signal.SIGALRM):
                raise pytest.UsageError(f"{name}: its process ended with {status}, which says nothing")
            verdicts[name] = "survived" if status == SURVIVED else "killed"
            kept.write_text(json.dumps(verdicts, indent=0))
        _show(verdicts)
        return True

    def _reached(self, items: list[pytest.Item]) -> dict[str, list[Test]]:
        """The tests of each function that has mutants, quickest first."""
        from mutmut.state import state  # noqa: PLC0415 - only there after its installation

        def reaches(place: str) -> bool:
            os.environ["MUTANT_UNDER_TEST"] = "stats"
            began = time.monotonic()
            failed = _fails(items[int(place)], 120)
            (self.scratch / place).write_text(json.dumps([time.monotonic() - began, sorted(state()._stats)]))  # noqa: SLF001
            return failed

        places = [str(place) for place in range(len(items))]
        bad = [items[int(place)].nodeid for place, status in _forked(places, reaches) if status != NO]
        if bad:
            raise pytest.UsageError(f"these fail without a mutant: {bad}")
        reached: dict[str, list[Test]] = {}
        for place in places:
            took, functions = json.loads((self.scratch / place).read_text())
            for function in functions:
                reached.setdefault(function, []).append((took, items[int(place)]))
        return {function: sorted(tests, key=lambda test: test[0]) for function, tests in reached.items()}


def _names() -> list[str]:
    metas = sorted((MUTANTS / "src").rglob("*.meta"))
    return [name for path in metas for name in json.loads(path.read_text())["exit_code_by_key"]]


def _fails(item: pytest.Item, limit_s: float) -> bool:
    """Run one test; one that hangs ends the process, and so kills its mutant."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    reports = runtestprotocol(item, log=False, nextitem=None)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return any(each.failed for each in reports)


def _forked(names: list[str], work: Callable[[str], bool]) -> Iterator[tuple[str, int]]:
    """What `work` says of each name in a process of its own, as they end: YES, NO, or how it broke off."""
    running: dict[int, str] = {}
    left = list(reversed(names))
    while left or running:
        if left and len(running) < IN_FLIGHT:
            name = left.pop()
            pid = os.fork()
            if not pid:
                _child(work, name)
            running[pid] = name
            continue
        pid, status = os.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it started
        shutil.rmtree(_own_folder(pid), ignore_errors=True)
        yield running.pop(pid), os.waitstatus_to_exitcode(status)


def _own_folder(pid: int) -> Path:
    return Path(SCRATCH.name) / f"of-{pid}"


def _child(work: Callable[[str], bool], name: str) -> None:
    status = 1
    try:
        os.setsid()
        folder = _own_folder(os.getpid())
        folder.mkdir()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(folder)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        status = YES if work(name) else NO
    finally:
        os._exit(status)


def _show(verdicts: dict[str, str]) -> None:
    """A table by file."""
    by_file: dict[str, Counter[str]] = {}
    for name, verdict in verdicts.items():
        by_file.setdefault("/".join(name.split(".")[1:3]) + ".py", Counter())[verdict] += 1
    print("| | mutants | killed | |\n|---|---|---|---|")
    for file, count in [*sorted(by_file.items()), ("all", Counter(verdicts.values()))]:
        print(f"| `{file}` | {count.total():,} | {count['killed']:,} | {count['killed'] / count.total():.0%} |")


def main() -> None:
    """Collect the tests that pyproject.toml names, in the folder of the mutants."""
    from mutmut.configuration import config  # noqa: PLC0415 - only there after its installation

    config()  # is read from here, and the tests change the folder
    chosen = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
    os.chdir(MUTANTS)
    sys.path.insert(0, str(MUTANTS / "src"))
    os.environ.update(PYTHONPATH=str(MUTANTS / "src"), MUTANT_UNDER_TEST="")
    options = ["-q", "--rootdir=.", "-o", "timeout=0", *chosen["pytest_add_cli_args"]]
    sys.exit(
        pytest.main([*options, *chosen["pytest_add_cli_args_test_selection"]], plugins=[Runner(sys.argv[1:] or [""])])
    )


if __name__ == "__main__":
    main()
