"""Peers, each in an environment of its own: they are never installed beside the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PEERS = {
    "textgrad": ["textgrad==0.1.8"],
    "adalflow": ["adalflow[openai]==1.1.3"],
    "trace-opt": ["trace-opt==0.1.3.8", "openai"],
    "dspy": ["dspy==3.4.1"],
    "gepa": ["gepa==0.1.4"],
}
_FOLDER = Path(__file__).parent / ".environments"
_UV = Path(sys.prefix) / "bin" / "uv"


def python_of(peer: str) -> Path:
    """The Python that has a peer; installs it where it is missing."""
    return made(peer, PEERS[peer]) / "bin" / "python"


def made(name: str, requirements: list[str], *, anew: bool = False) -> Path:
    """The folder of an environment with these packages. A stamp comes last: what was interrupted is made anew."""
    folder = _FOLDER / name
    stamp = folder / ".complete"
    if anew or not stamp.exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run([_UV, "venv", "--quiet", "--clear", "--python", version, folder], check=True)
        # A project that changed without its pyproject.toml would come from uv's cache.
        command = [_UV, "pip", "install", "--quiet", "--compile-bytecode", "--refresh-package", name]
        command += ["--python", folder / "bin" / "python", *requirements]
        subprocess.run(command, check=True)
        stamp.touch()
    return folder
