"""Keep a finished run of the demo for replay: `python scripts/demo_ledger.py STORE RUN_ID`.

Writes examples/ticket_triage/demo.sql.xz, from which scripts/replay_demo.py shows the run without a model.
"""

from __future__ import annotations

import json
import lzma
import sqlite3
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEDGER = ROOT / "examples" / "ticket_triage" / "demo.sql.xz"


def main(store: str, run: str) -> None:
    """Copy the run's rows into a file of SQL, without the paths of the machine that made it."""
    copy = sqlite3.connect(":memory:")
    with sqlite3.connect(store) as source:
        source.backup(copy)
    copy.execute("PRAGMA foreign_keys = ON")
    copy.execute("DELETE FROM runs WHERE id != ?", (run,))
    (settings,) = copy.execute("SELECT body FROM events WHERE run = ? AND kind = 'settings'", (run,)).fetchone()
    portable = {**json.loads(settings), "config": "examples/ticket_triage/wordgrad.toml"}
    copy.execute("UPDATE events SET body = ? WHERE run = ? AND kind = 'settings'", (json.dumps(portable), run))
    copy.execute("DELETE FROM events WHERE kind = 'end'")
    used = "SELECT request FROM attempts UNION SELECT reply FROM attempts UNION SELECT value FROM results"
    copy.execute(f"DELETE FROM texts WHERE hash NOT IN ({used} UNION SELECT value FROM versions)")  # noqa: S608 - constants
    copy.commit()
    dump = "\n".join(copy.iterdump())
    version = copy.execute("PRAGMA user_version").fetchone()[0]
    LEDGER.write_bytes(lzma.compress(f"{dump}\nPRAGMA user_version = {version};\n".encode(), preset=9))
    print(f"{LEDGER.relative_to(ROOT)}: {LEDGER.stat().st_size} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
