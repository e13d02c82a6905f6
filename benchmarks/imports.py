"""What it takes to begin: import, first Variable, help text, installed size, beside the peers.

python benchmarks/imports.py --repeats 5
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from environments import PEERS, made, python_of
from report import Section, arguments, show, spread

PROJECT = Path(__file__).parent.parent
_IMPORT = """
import json, time
start = time.perf_counter()
import {module} as library
imported = time.perf_counter() - start
{first}
print(json.dumps([imported, time.perf_counter() - start - imported]))
"""
FIRST = {
    "wordgrad": "library.Variable('text', 'text')",
    "textgrad": "library.Variable('text', role_description='text')",
}
MODULES = {"wordgrad": "wordgrad", "textgrad": "textgrad", "dspy": "dspy", "gepa": "gepa"}


def imported(python: Path, name: str) -> list[float]:
    """Seconds of the import, and of the first Variable where there is such a thing."""
    program = _IMPORT.format(module=MODULES[name], first=FIRST.get(name, ""))
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "OPENAI_API_KEY": "none"}
        done = subprocess.run(
            [python, "-c", program], capture_output=True, text=True, check=True, cwd=home, env=environment
        )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def helped(python: Path) -> float:
    """Seconds of `wordgrad --help`."""
    start = time.perf_counter()
    subprocess.run([python.parent / "wordgrad", "--help"], capture_output=True, check=True)
    return time.perf_counter() - start


def megabytes(environment: Path) -> float:
    """The installed packages, without bytecode."""
    files = (each for each in environment.rglob("site-packages/**/*") if each.is_file() and not each.is_symlink())
    return sum(each.stat().st_size for each in files if each.suffix != ".pyc") / 1e6


def measured(repeats: int) -> list[Section]:
    """The table."""
    rows = []
    for name in MODULES:
        if name == "wordgrad":
            python = made("wordgrad", [str(PROJECT)], anew=True) / "bin" / "python"
            helps = spread([helped(python) for _ in range(repeats + 1)][1:])
        else:
            python, helps = python_of(name), ""
        found = [imported(python, name) for _ in range(repeats + 1)][1:]  # the first one writes bytecode
        first = spread([each[1] for each in found], "{:.3f}") if name in FIRST else ""
        size = f"{megabytes(python.parents[1]):.0f}"
        rows.append(
            [
                f"{name} {PEERS[name][0].split('==')[1]}" if name in PEERS else name,
                spread([each[0] for each in found], "{:.3f}"),
                first,
                helps,
                size,
            ]
        )
    text = (
        "Seconds of the import, then of the first Variable, and of `wordgrad --help`, with bytecode in place: median "
        f"of {repeats}. Megabytes of all that is installed with it, without bytecode."
    )
    return [
        Section(
            title="To begin with",
            text=text,
            columns=("library", "import, s", "first Variable, s", "`--help`, s", "MB"),
            rows=rows,
        )
    ]


if __name__ == "__main__":
    show(measured(arguments(__doc__).parse_args().repeats))
