"""A scripted model on this machine, for benchmarks: OpenAI's two protocols, each reply after the same time.

    python benchmarks/model_server.py --latency-ms 50

Prints its address, and serves until its stdin is closed. `POST /phase` with a name begins a phase; `GET /phases` says
of each phase how many calls there were, in how many rounds (the longest chain of calls that followed one another), and
how many characters they read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

_PARTS = re.compile(r"Answer for ((?:P\d+)(?:, P\d+)*)")
_TRACE_VARIABLES = re.compile(r"^\(str\) (\w+)=", re.MULTILINE)
_BETTER = "Answer exactly, in one line."
_SAID = "It is wrong: be exact, and say it in one line."


@dataclass
class Phase:
    """The calls of one phase."""

    name: str
    spans: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of each, in seconds."""
    characters: int = 0

    def counted(self) -> dict[str, Any]:
        """What `/phases` says."""
        rounds, latest = 0, 0.0
        for start, end in sorted(self.spans, key=lambda span: span[1]):
            if start >= latest:
                rounds, latest = rounds + 1, end
        return {"phase": self.name, "calls": len(self.spans), "rounds": rounds, "characters": self.characters}


class Model:
    """Answers whatever each library asks, in the form that it reads."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.phases = [Phase("")]

    async def answer(self, method: str, path: str, content: bytes) -> bytes:
        """The body of one reply."""
        if path.endswith("/phases"):
            return json.dumps([each.counted() for each in self.phases if each.spans]).encode()
        if path.endswith("/phase"):
            self.phases.append(Phase(content.decode()))
            return b"{}"
        body = json.loads(content)
        text = _text(body.get("messages", body.get("input")))
        phase, start = self.phases[-1], time.monotonic()
        await asyncio.sleep(self.latency_s)
        phase.spans.append((start, time.monotonic()))
        phase.characters += len(text)
        form = _response if path.endswith("/responses") else _completion
        return json.dumps(form(said(text, body), body["model"])).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
                content = await reader.readexactly(int(length[1]) if length else 0)
                body = await self.answer(method, path, content)
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()


def said(text: str, body: dict[str, Any]) -> str:
    """The reply to a prompt: by the schema where there is one, else by the form that the prompt asks for."""
    # Each prompt has a reply of its own: a library's cache must not find one example's reply for another.
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    if "json_schema" in body.get("response_format", {}):
        schema = body["response_format"]["json_schema"]["schema"]
        if schema["title"] == "RewriteReply":
            return json.dumps({"value": _BETTER})
        labels = _PARTS.findall(text)[-1].split(", ")
        verdict = {"verdict": "mine", "severity": 2, "quote": "", "change": f"Be exact ({own}).", "keep": ""}
        parts = [{"part": label, **verdict} for label in labels]
        return json.dumps({"parts": parts} if schema["title"] == "NodeReply" else parts[0])
    if "<IMPROVED_VARIABLE>" in text:
        return f"<IMPROVED_VARIABLE>{_BETTER}</IMPROVED_VARIABLE>"
    if "<proposed_variable>" in text:
        return (
            "<response><reasoning>short</reasoning><method>anew</method>"
            f"<proposed_variable>{_BETTER}</proposed_variable></response>"
        )
    if '"suggestion"' in text:
        names = _TRACE_VARIABLES.findall(text.rpartition("#Variables")[2].partition("#Constraints")[0])
        return json.dumps({"reasoning": "short", "answer": "", "suggestion": dict.fromkeys(names, _BETTER)})
    return f"{_SAID} ({own})"


def _text(content: Any) -> str:  # noqa: ANN401 - JSON
    """All text in messages, however deep they hold it."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(_text, content))
    return _text(content.get("content", content.get("text", "")))


def _completion(text: str, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def _response(text: str, model: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "response-1",
        "object": "response",
        "created_at": 0,
        "model": model,
        "status": "completed",
        "output": [{"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": content}],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 10,
        },
    }


async def main() -> None:
    """Serve until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    model = Model(parser.parse_args().latency_ms / 1_000)
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
