"""Which engine a command uses when none is named, and what the environment says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import wordgrad as wg
from wordgrad.engines.choice import choose
from wordgrad.settings import Settings


class Ollama(ThreadingHTTPServer):
    """Lists models as Ollama does."""

    reply: bytes

    @property
    def host(self) -> str:
        """As OLLAMA_HOST names it."""
        return f"127.0.0.1:{self.server_port}"

    def has(self, **families: str) -> None:
        """List these models, each with its family."""
        models = [{"name": name.replace("_", ":"), "details": {"family": each}} for name, each in families.items()]
        self.reply = json.dumps({"models": models}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Ollama

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/tags" else 404)
        self.send_header("Content-Length", str(len(self.server.reply)))
        self.end_headers()
        self.wfile.write(self.server.reply)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ollama]:
    """An Ollama on this machine, where the environment says that it is."""
    with Ollama(("127.0.0.1", 0), _Handler) as server:
        server.has(tiny="llama")
        monkeypatch.setenv("OLLAMA_HOST", server.host)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=5)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ollama answers here."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        (
            {"WORDGRAD_ENGINE": "local", "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"},
            ("local", "WORDGRAD_ENGINE is set"),
        ),
        ({"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, ("gpt-4o-mini", "OPENAI_API_KEY is set")),
        ({"ANTHROPIC_API_KEY": "k"}, ("anthropic:claude-haiku-4-5", "ANTHROPIC_API_KEY is set")),
        ({"WORDGRAD_ENGINE": "", "OPENAI_API_KEY": ""}, ("local", "no key is set and no Ollama runs")),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_the_first_that_is_there_is_chosen(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], chosen: tuple[str, str]
) -> None:
    """A setting goes before a key, OpenAI's key before Anthropic's, and an empty variable is none."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert choose() == chosen


def test_a_running_ollama_is_asked_for_its_models(ollama: Ollama) -> None:
    """The model that was changed last answers, and those that only embed are passed over."""
    ollama.has(nomic_latest="nomic-bert", embeddinggemma="gemma3", llama3_8b="llama", qwen="qwen2")

    assert choose() == (f"openai:llama3:8b@http://{ollama.host}/v1", f"Ollama runs at http://{ollama.host}")


def test_an_ollama_without_a_model_is_passed_over(ollama: Ollama) -> None:
    """There is nothing to ask it."""
    ollama.has(nomic="nomic-bert")

    assert choose() == ("local", f"no key is set, and the Ollama at http://{ollama.host} has no model")


@pytest.mark.parametrize("reply", [b"not json", b"[]", b'{"models": [{}]}', b'{"models": null}'])
def test_another_server_at_the_port_is_no_ollama(ollama: Ollama, reply: bytes) -> None:
    """What answers with something else is left alone."""
    ollama.reply = reply

    assert choose() == ("local", "no key is set and no Ollama runs")


@pytest.mark.parametrize("form", ["{host}", "http://{host}", "http://{host}/", "0.0.0.0:{port}", ":{port}"])
def test_every_form_of_ollamas_address_is_understood(
    monkeypatch: pytest.MonkeyPatch, ollama: Ollama, form: str
) -> None:
    """What Ollama's server takes for its own address names it to us too; a proxy is not asked about this machine."""
    monkeypatch.setenv("OLLAMA_HOST", form.format(host=ollama.host, port=ollama.server_port))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    assert choose()[0] == f"openai:tiny@http://{ollama.host}/v1"


@pytest.mark.parametrize(
    ("form", "address"),
    [
        ("box", "http://box:11434"),
        ("https://box", "https://box:443"),
        ("http://box", "http://box:80"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:99", "http://127.0.0.1:99"),
    ],
)
def test_the_usual_ports_are_ollamas(monkeypatch: pytest.MonkeyPatch, form: str, address: str) -> None:
    """A host alone has Ollama's port, a URL that of its scheme."""
    seen: list[str] = []
    monkeypatch.setattr("wordgrad.engines.choice._models", lambda asked: seen.append(asked) or ["m"])
    monkeypatch.setenv("OLLAMA_HOST", form)

    assert (choose()[0], seen) == (f"openai:m@{address}/v1", [address])


def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that is no number is the user's to mend."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:port")

    with pytest.raises(wg.UsageError, match=r"OLLAMA_HOST='127\.0\.0\.1:port' is no address"):
        choose()


def test_keys_print_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor their keys show a key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv("WORDGRAD_API_KEY", "sk-planted")

    assert "sk-planted" not in f"{Settings()!r} {Settings()} {Settings().openai_api_key}"
