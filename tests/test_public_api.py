"""The package's surface: its names, what importing it costs, and its layers."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import wordgrad as wg

ROOT = Path(__file__).parents[1]


def test_no_public_name_is_a_submodule() -> None:
    """A name that were also a submodule's would change its meaning when that submodule is imported."""
    submodules = {module.name for module in pkgutil.iter_modules(wg.__path__)}

    assert submodules.isdisjoint(wg.__all__)


@pytest.mark.parametrize("name", wg.__all__)
def test_every_public_name_can_be_used(name: str) -> None:
    """Each name in `__all__` leads to an object that is no module, and says what it is for."""
    value = getattr(wg, name)

    assert not isinstance(value, ModuleType)
    assert value.__doc__ or name == "Engine"


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="'wordgrad' has no attribute 'Varable'"):
        wg.Varable  # noqa: B018 - reading is the act


def test_import_is_quick_and_writes_nothing(tmp_path: Path) -> None:
    """`import wordgrad` takes less than 0.15 s, loads no third-party package, starts no thread and leaves no file."""
    script = """
import json, sys, threading, time
start = time.process_time()
import wordgrad
seconds = time.process_time() - start
heavy = [name for name in ("anyio", "openai", "pydantic", "rich", "typer", "sqlite3", "asyncio") if name in sys.modules]
print(json.dumps([seconds, heavy, threading.active_count()]))
"""
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    seconds, heavy, threads = json.loads(ran.stdout)

    assert (heavy, threads, ran.stderr, list(tmp_path.iterdir())) == ([], 1, "", [])
    assert seconds < 0.15


def test_calls_need_no_fork() -> None:
    """Where a process cannot fork (Windows) calls are made all the same."""
    script = """
import asyncio, logging, os, random  # the standard library's own hooks
del os.register_at_fork
import wordgrad as wg
from wordgrad.testing import RuleEngine
print(wg.llm_call("Greet.", "me", engine=RuleEngine(lambda request: "hello")).value)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert (ran.stdout, ran.stderr) == ("hello\n", "")


def test_modules_do_nothing_when_imported() -> None:
    """Every module of the package can be imported, and none prints."""
    names = [module.name for module in pkgutil.walk_packages(wg.__path__, "wordgrad.")]

    assert all(importlib.import_module(name) for name in names if not name.endswith("__main__"))
