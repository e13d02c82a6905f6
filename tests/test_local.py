"""The embedded engine."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from wordgrad.engines import get_engine, llama, weights
from wordgrad.engines.local import LocalEngine
from wordgrad.errors import UsageError
from wordgrad.types import Message, Request, Sampling

TERSE = "Answer with one word and nothing else. " * 8
SCHEMA = {
    "type": "object",
    "properties": {"desk": {"enum": ["billing", "shipping"]}},
    "required": ["desk"],
    "additionalProperties": False,
}


def asking(question: str, *, max_tokens: int = 8, schema: dict[str, object] | None = None) -> Request:
    """A question under a system prompt that all share."""
    messages = (Message("system", (TERSE,)), Message("user", (question,)))
    return Request(messages=messages, sampling=Sampling(max_tokens=max_tokens, temperature=0.0), schema=schema)


@pytest.mark.anyio
async def test_missing_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without weights the first call fails with the command that gets them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(UsageError, match=f"run `wordgrad models pull {weights.DEFAULT}`"):
        await LocalEngine().complete(asking("Hi"))


def test_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error has the command that installs it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    (tmp_path / "any.gguf").touch()

    with pytest.raises(UsageError, match=r'run `pip install "wordgrad\[local\]"`'):
        LocalEngine(tmp_path / "any.gguf").start()


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A path that holds no file is an error that shows it."""
    with pytest.raises(UsageError, match=r"no model file .*none.gguf"):
        LocalEngine(tmp_path / "none.gguf").start()


@pytest.mark.parametrize(
    ("cores", "gib", "slots"), [(1, 64, 1), (2, 24, 2), (4, 64, 4), (64, 64, 8), (8, 4, 4), (8, 1, 1), (2, 0.5, 1)]
)
def test_slots_follow_cores_and_memory(monkeypatch: pytest.MonkeyPatch, cores: int, gib: float, slots: int) -> None:
    """As many requests at once as there are cores, up to eight, where their contexts leave room for all else."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(gib * 2**30) // 4096}.__getitem__)

    assert (llama.slots(), LocalEngine("some/model.gguf").max_in_flight) == (slots, slots)


@pytest.mark.parametrize("cores", [None, 4])
def test_a_system_that_tells_little_is_used_for_what_it_tells(
    monkeypatch: pytest.MonkeyPatch, cores: int | None
) -> None:
    """Without affinity the machine's cores count, and without a figure for its memory they alone."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.delattr("os.sysconf", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: cores)

    assert llama.slots() == (cores or 1)


def test_what_it_declares() -> None:
    """The key of a request has no port in it, replies cost nothing, and a schema can be asked for."""
    engine = LocalEngine("some/model.gguf")

    assert (engine.name, engine.model, engine.endpoint) == ("local:some/model.gguf", "model.gguf", "local")
    assert engine.price.input_usd == engine.price.output_usd == 0
    assert (engine.capabilities.schema, engine.capabilities.images) == (True, False)


def test_tokens_are_bounded_by_bytes() -> None:
    """The bound counts bytes of UTF-8, lone surrogates included."""
    assert [LocalEngine().count_tokens(text) for text in ("", "abc", "日本", "\ud800")] == [0, 3, 6, 3]


@pytest.mark.local_model
def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    """A file that llama.cpp cannot read is an error, and the process lives."""
    (tmp_path / "bad.gguf").write_bytes(b"not a model")

    with pytest.raises(UsageError, match=r"bad.gguf' cannot be loaded as a GGUF model"):
        LocalEngine(tmp_path / "bad.gguf").start()


@pytest.mark.local_model
@pytest.mark.anyio
async def test_a_shared_prefix_is_read_once() -> None:
    """Requests with a shared prefix find it read: the server counts those tokens as cached."""
    with anyio.fail_after(100):
        for question in ("Is snow hot?", "Is ice warm?", "Is fire cold?"):
            completion = await get_engine("local").complete(asking(question))

    assert completion.text.strip()
    assert completion.usage.cached_input_tokens > completion.usage.input_tokens / 2
    assert completion.model == get_engine("local").model


@pytest.mark.local_model
@pytest.mark.anyio
async def test_a_schema_holds() -> None:
    """The reply is JSON of the schema, whatever the model would have said."""
    with anyio.fail_after(100):
        completion = await get_engine("local").complete(asking("My parcel is late.", max_tokens=32, schema=SCHEMA))

    assert json.loads(completion.text)["desk"] in {"billing", "shipping"}


@pytest.mark.local_model
@pytest.mark.anyio
async def test_a_reply_at_its_limit_is_cut() -> None:
    """A reply that used its whole limit says so."""
    with anyio.fail_after(100):
        completion = await get_engine("local").complete(asking("Write a long story.", max_tokens=2))

    assert (completion.finish, completion.usage.output_tokens) == ("length", 2)


@pytest.mark.local_model
@pytest.mark.anyio
async def test_cancelling_frees_the_slot() -> None:
    """The server drops a request whose connection was closed: the next ones do not wait for its 4,000 tokens."""
    engine = get_engine("local")
    await engine.complete(asking("Hi"))
    async with anyio.create_task_group() as group:
        for number in range(llama.slots()):
            group.start_soon(engine.complete, asking(f"Count from {number} to 5000, digits only.", max_tokens=4000))
        with anyio.move_on_after(2):
            await anyio.sleep_forever()
        group.cancel_scope.cancel()

    with anyio.fail_after(40):
        assert (await engine.complete(asking("Hi"))).text


@pytest.mark.local_model
def test_the_port_needs_the_key() -> None:
    """Another process on this machine cannot use the model."""
    found = weights.installed(weights.find(weights.DEFAULT))
    assert found is not None
    host = llama.server(found).address.removeprefix("http://")
    with closing(http.client.HTTPConnection(host, timeout=10)) as connection:
        connection.request("POST", "/v1/chat/completions", body=b"{}")
        with connection.getresponse() as reply:
            status = reply.status

    assert (status, host.partition(":")[0]) == (401, "127.0.0.1")


@pytest.mark.local_model
def test_forked_child_and_exit() -> None:
    """A child asks its parent's server, both end by themselves with their own status, and stderr stays empty."""
    program = """
import os, sys, anyio
from wordgrad.engines.local import LocalEngine
from wordgrad.types import Message, Request, Sampling
engine = LocalEngine()
ask = Request(messages=(Message("user", ("Hi",)),), sampling=Sampling(max_tokens=2))
engine.start()
child = os.fork()
anyio.run(engine.complete, ask)
if not child:
    sys.exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    started = time.monotonic()
    # From Python 3.12 on the interpreter warns of any fork beside a thread.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "3\n", "")
    assert time.monotonic() - started < 80
