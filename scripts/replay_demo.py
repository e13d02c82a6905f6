"""The demo's screen from a recorded run: no model, no download. `--svg FILE` keeps the picture."""

from __future__ import annotations

import argparse
import io
import lzma
import re
import sqlite3
import tempfile
from pathlib import Path

from rich.console import Console

from wordgrad.cli.optimize import finish
from wordgrad.compose import Run
from wordgrad.engines import get_engine
from wordgrad.store import runs
from wordgrad.store.database import Database
from wordgrad.train import config as configs
from wordgrad.train.build import rebuilt

ROOT = Path(__file__).parent.parent
LEDGER = ROOT / "examples" / "ticket_triage" / "demo.sql.xz"


def main() -> None:
    """Resume the recorded run in a copy: every call is answered from its ledger."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--svg", type=Path, help="write the screen to this file")
    svg: Path | None = parser.parse_args().svg
    console = Console() if svg is None else _recorded()
    console.print("[dim]$[/dim] wordgrad optimize examples/ticket_triage/wordgrad.toml")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs.db"
        with sqlite3.connect(store) as database:
            database.executescript(lzma.decompress(LEDGER.read_bytes()).decode())
        with Database(store) as opened:
            (recorded,) = runs.runs(opened)
            settings = runs.settings(opened, recorded.id)
            starts = runs.starts(opened, recorded.id)
        config = configs.parse(settings["source"], ROOT / settings["config"], settings["changes"])
        with Run(store, resume=recorded.id) as run:
            job = rebuilt(config, starts, engine_of=lambda table: get_engine(table.engine or "local"), seed=run.seed)
            finish(run, job, config, console=console, seed=run.seed, write=False, as_json=False)
    if svg is None:
        console.print(f"replayed from {LEDGER.relative_to(ROOT)}: no model was asked, and no store has the run")
    else:
        # Without the web fonts: a picture that is shown should fetch nothing.
        drawn = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="wordgrad"), flags=re.DOTALL)
        svg.write_text(drawn, encoding="utf-8")


def _recorded() -> Console:
    """A terminal of its own. A dumb one: it has colours, and no bar whose every move would be kept."""
    return Console(
        record=True,
        width=110,
        height=40,  # without one, a dumb terminal is 80 wide
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        _environ={"TERM": "dumb"},
    )


if __name__ == "__main__":
    main()
