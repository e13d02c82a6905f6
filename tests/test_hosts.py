"""Inside other people's event loops: a web server, a notebook's kernel, async tests."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request as Call
from urllib.request import urlopen

import nbformat
import pytest
import uvicorn
from fastapi import FastAPI
from nbclient import NotebookClient

import wordgrad as wg
from engines import Model

LIMIT_S = 60
TESTS = Path(__file__).parent


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a port of this machine; stopped at the end."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    latest = time.monotonic() + LIMIT_S
    while not server.started and time.monotonic() < latest and thread.is_alive():
        thread.join(timeout=0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=LIMIT_S)


def posted(address: str, body: object) -> object:
    """What the server answers to a JSON body."""
    call = Call(address, json.dumps(body).encode(), {"content-type": "application/json"})
    with urlopen(call, timeout=LIMIT_S) as reply:
        return json.load(reply)


def test_a_web_servers_requests_share_nothing() -> None:
    """Async and plain endpoints answer many requests at once, each with its own text, and learn from words of users."""
    model = Model(lambda request: f"to {request.messages[-1].text}")
    prompt = wg.Variable("Answer.", "system prompt", requires_grad=True)
    chat = wg.BlackboxLLM(model, system_prompt=prompt)
    app = FastAPI()

    @app.post("/async")
    async def answered(body: dict[str, str]) -> dict[str, str]:
        reply = chat(body["text"])
        await reply
        if "complaint" in body:
            with wg.backward_engine(model):
                await reply.abackward(body["complaint"])
        return {"reply": reply.value}

    @app.post("/plain")
    def answered_in_a_thread(body: dict[str, str]) -> dict[str, str]:
        return {"reply": chat(body["text"]).value}

    texts = [f"letter {number}" for number in range(40)]
    with serving(app) as address, ThreadPoolExecutor(20) as users:
        replies = list(users.map(lambda text: posted(f"{address}/async", {"text": text}), texts))
        plain = list(users.map(lambda text: posted(f"{address}/plain", {"text": text}), texts))
        posted(f"{address}/async", {"text": "a letter", "complaint": "too long"})

    assert replies == plain == [{"reply": f"to {text}"} for text in texts]
    assert [gradient.text for gradient in prompt.gradients] == ["Be exact."]


_CELLS = [
    """
import wordgrad as wg
from engines import Model

engine = Model()
wg.set_backward_engine(engine)
prompt = wg.Variable("Answer.", "system prompt", requires_grad=True)
model = wg.BlackboxLLM(engine, system_prompt=prompt)
""",
    "print(model('a question').value)",
    "reply = await model('another question'); print(reply.value)",
    """
loss = wg.TextLoss("Be brief.")(model("a question"))
loss.backward()
print(wg.TGD([prompt], engine=engine).step().applied, prompt.value)
""",
    "print([each.value for each in model.batch(['a', 'b'])])",
]


@pytest.mark.timeout(180)
def test_a_notebooks_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real kernel cells read, await, go backward and step as a script does."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in _CELLS])
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3").execute()

    said = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]
    assert said == ["", "an answer\n", "an answer\n", "True a better text\n", "['an answer', 'an answer']\n"]


_ASYNC_TESTS = """
import asyncio
import pytest
import wordgrad as wg
from wordgrad.testing import RuleEngine

engine = RuleEngine(lambda request: request.messages[-1].text.upper())

@pytest.mark.asyncio
@pytest.mark.parametrize("word", ["one", "two", "three"])
async def test_reply(word):
    assert (await wg.llm_call(None, word, engine=engine)).value == word.upper()

@pytest.mark.asyncio
async def test_many():
    replies = await asyncio.gather(*(wg.llm_call(None, f"{n}", engine=engine) for n in range(100)))
    assert [each.value for each in replies] == [f"{n}" for n in range(100)]
"""


def test_async_tests_with_a_loop_each(tmp_path: Path) -> None:
    """Under pytest-asyncio each test has a loop of its own, and the library goes on from one to the next."""
    (tmp_path / "test_mine.py").write_text(_ASYNC_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", str(tmp_path)],
        capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert (done.returncode, done.stdout.splitlines()[-1].split(" in ")[0]) == (0, "4 passed"), done.stdout
