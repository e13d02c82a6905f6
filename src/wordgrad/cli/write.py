"""Putting accepted texts into the users' own files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from wordgrad.data import rows as files
from wordgrad.errors import UsageError
from wordgrad.train.config import Config


def replace_all(texts: Mapping[Path, str]) -> None:
    """Put each text into its file, all or none; no reader ever sees half a file.

    A file's mode, its line endings, and whether it ends with one are kept, and so is a link to it.

    Raises:
        UsageError: One cannot be written; every file is as it was.
    """
    new: dict[Path, bytes] = {}
    old: dict[Path, bytes] = {}
    for path, text in texts.items():
        try:
            file = path.resolve(strict=True)
            old[file] = file.read_bytes()
            new[file] = _like(old[file], text)
        except (OSError, UnicodeEncodeError) as error:
            raise _cannot(path, error) from error
    done: list[Path] = []
    for file, content in new.items():
        try:
            _replace(file, content)
        except OSError as error:
            for each in done:
                _replace(each, old[each])
            raise _cannot(file, error) from error
        done.append(file)


def put(config: Config, *, old: Mapping[str, str], new: Mapping[str, str], run: str, export: str) -> list[Path]:
    """Put texts in place of others into the files of a configuration's variables, all or none.

    A file that holds the new text is left as it is.

    Args:
        config: Names the files.
        old: What the files hold, by variable.
        new: What they are to hold.
        run: Whose texts these are.
        export: The command that shows them, but for the variable's name.

    Returns:
        The files that were written.

    Raises:
        UsageError: A file holds neither text: somebody has changed it since; or it cannot be read or written.
    """
    texts = {}
    for name, table in config.variables.items():
        if table.file is None or old[name] == new[name] or _holds(table.file, new[name]):
            continue
        if not _holds(table.file, old[name]):
            raise UsageError(
                f"nothing was written: {table.file} holds neither the start's text nor the new one of run {run}; put "
                f"it there by hand, from {export} {name}"
            )
        texts[table.file] = new[name]
    replace_all(texts)
    return list(texts)


def _holds(path: Path, text: str) -> bool:
    """As where it is read, line endings and those at its end do not count."""
    return files.text(path).rstrip("\n") == text.replace("\r\n", "\n").rstrip("\n")


def _like(old: bytes, text: str) -> bytes:
    if old.endswith(b"\n"):
        text += "\n"
    return text.replace("\n", "\r\n" if b"\r\n" in old else "\n").encode()


def _replace(file: Path, content: bytes) -> None:
    # In the same folder: a rename is atomic inside one file system only.
    handle, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        shutil.copymode(file, beside)
        os.replace(beside, file)  # noqa: PTH105 - the atomic one
    except BaseException:
        Path(beside).unlink()
        raise


def _cannot(path: Path, error: OSError | UnicodeEncodeError) -> UsageError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return UsageError(f"{path} cannot be written: {why}")
