"""Images from addresses and files: fetched when they are first sent, and never from where data must not reach."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import wordgrad as wg
from engines import Model, prompt, texts
from wordgrad.functions import image
from wordgrad.types import Capabilities, ImageData, Message

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 16
WEBP = b"RIFF\x10\0\0\0WEBPVP8 "
GIF = b"GIF89a" + b"\0" * 16
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 16


class Site:
    """A web server on this machine, and the paths that it was asked for."""

    def __init__(self) -> None:
        site = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                status, headers, body = site.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one path."""
        moved = {"/moved": "/cat", "/loop": "/loop", "/out": "file:///etc/passwd", "/nowhere": "https:///cat"}
        if path in moved:
            return 302, {"Location": moved[path]}, b""
        if path == "/cat":
            return 200, {"Content-Type": "text/html"}, PNG
        return (200, {}, b"<html>") if path == "/page" else (404, {}, b"")

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server that is gone after the test."""
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


def seeing() -> Model:
    """An engine with eyes."""
    return Model("a cat", capabilities=Capabilities(schema=True, images=True))


def sent(source: Any, **options: Any) -> tuple[object, ...]:
    """What an engine gets of an image."""
    model = seeing()
    wg.llm_call(None, wg.Image(source, **options), engine=model).value  # noqa: B018 - reading is the act
    return model.history[0].request.messages[0].parts


@pytest.mark.parametrize(
    ("data", "media_type"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")]
)
def test_the_type_is_read_from_the_bytes(data: bytes, media_type: str) -> None:
    """What an image is, its first bytes say, whatever it was called."""
    assert sent(data) == (ImageData(media_type, data),)
    assert wg.Image(data).text_form().startswith(f"[{media_type}, {len(data)} bytes, sha256 ")


def test_an_address_is_fetched_when_first_sent(site: Site) -> None:
    """Making the image asks nobody; two calls that send it fetch it once; its words stay."""
    shown, model = wg.Image(site.url("/moved"), allow_private=True), seeing()
    made = list(site.asked)
    for _ in range(2):
        wg.llm_call(None, shown, engine=model).value  # noqa: B018 - reading is the act

    assert made == []
    assert site.asked == ["/moved", "/cat"]
    assert shown.text_form() == f"[image at {site.url('/moved')}]"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/page", "no PNG, JPEG, GIF or WebP"),
        ("/gone", "could not be fetched: .*404"),
        ("/loop", "redirects more than 5 times"),
        ("/out", "over http or https only, not from 'file:///etc/passwd'"),
        ("/nowhere", "over http or https only"),
    ],
)
def test_what_cannot_be_fetched(site: Site, path: str, said: str) -> None:
    """What is no image, is not there, or leads nowhere or to a file, fails the call with the reason."""
    with pytest.raises(wg.NodeError, match=said):
        sent(site.url(path), allow_private=True)


def test_a_server_that_is_not_there(site: Site) -> None:
    """An address where nobody answers, and a name that nobody has, are named in the error."""
    site.server.shutdown()
    site.server.server_close()

    with pytest.raises(wg.NodeError, match=rf"127\.0\.0\.1:{site.port}/cat could not be fetched"):
        sent(site.url("/cat"), allow_private=True)


def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to no address is named in the error."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(wg.NodeError, match=r"host of the image http://pictures\.example/cat is not known"):
        sent("http://pictures.example/cat")


def test_a_name_that_changes_its_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is fetched from: a name cannot lead elsewhere the second time."""
    addresses = iter(["93.184.216.34"])

    def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(addresses, "127.0.0.1"), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    with pytest.raises(wg.NodeError, match="failed"):
        sent(f"http://pictures.example:{site.port}/cat")
    assert site.asked == []


def test_images_have_a_size_limit(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, files and addresses of more than `MAX_BYTES` are refused; a page that never ends is not read on."""
    monkeypatch.setattr(image, "MAX_BYTES", 20)
    file = tmp_path / "cat.png"
    file.write_bytes(PNG)

    with pytest.raises(wg.UsageError, match="larger than 20 bytes"):
        wg.Image(PNG)
    for source in (file, site.url("/cat")):
        with pytest.raises(wg.NodeError, match="larger than 20 bytes"):
            sent(source, allow_private=True)


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is named, with the system's reason."""
    with pytest.raises(wg.NodeError, match=r"gone\.png cannot be read: No such file"):
        sent(tmp_path / "gone.png")


def test_an_image_in_a_conversation() -> None:
    """Images stand in their place in any turn of a conversation, and the prompt beside them gets the feedback."""
    model, system = seeing(), prompt("Compare.")
    answer = wg.llm_call(
        system,
        [
            {"role": "user", "content": [wg.Image(PNG), "What is shown?"]},
            {"role": "assistant", "content": "A cat."},
            {"role": "user", "content": ["And here?", wg.Variable(wg.Image(GIF), "photo")]},
        ],
        engine=model,
    )
    with wg.backward_engine(model):
        answer.backward("It is a dog.")

    assert model.history[0].request.messages == (
        Message("system", ("Compare.",)),
        Message("user", (ImageData("image/png", PNG), "What is shown?")),
        Message("assistant", ("A cat.",)),
        Message("user", ("And here?", ImageData("image/gif", GIF))),
    )
    (asked,) = model.asked("backward")
    assert "[image/png, 24 bytes," in asked
    assert "[image/gif, 22 bytes," in asked
    assert texts(system) == ["Be exact."]


def test_a_function_may_give_an_image() -> None:
    """What a Python function draws is sent as an image."""
    model = seeing()
    draw = wg.function(pure=True)(lambda text: wg.Image(PNG))
    wg.llm_call(None, [draw("a cat"), "What?"], engine=model).value  # noqa: B018 - reading is the act

    assert model.history[0].request.messages[0].parts == (ImageData("image/png", PNG), "What?")
