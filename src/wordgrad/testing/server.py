"""A server on the loopback address that speaks OpenAI's and Anthropic's protocols, slow or faulty on demand."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server does with one request."""

    text: str = "ok"
    status: int = 200
    """Another status sends an error body with `text` as its message."""
    finish: str = "stop"
    """"stop", "length" or "refusal"."""
    output_tokens: int = 3
    model: str | None = None
    """Who is said to have answered; the model that was asked where None."""
    latency_s: float = 0.0
    """Real seconds before the answer, or the fault."""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """This body, whatever it is, instead of a reply."""
    fault: str = ""
    """"stall" never answers; "reset" closes the connection; "truncate" stops in the middle of the body."""


Rule = Callable[[Body], "Answer | str"]
"""Called with a request's JSON; returns what to do, or just the reply's text."""


class FakeServer:
    """Answers by a rule, and keeps what it was asked. Use it in a `with`; it stops at the end.

    Args:
        rule: From several threads at once.
    """

    def __init__(self, rule: Rule = lambda _: "ok") -> None:
        self.rule = rule
        self.requests: list[Body] = []
        """Each request's JSON, in order of arrival."""
        self.headers: list[Mapping[str, str]] = []
        self._stopping = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.requests.append(body)
                outer.headers.append(dict(self.headers))
                given = outer.rule(body)
                outer._send(self, Answer(text=given) if isinstance(given, str) else given, body)

            def log_message(self, *args: object) -> None:
                """Stay silent: a test's output is its own."""

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer, asked: Body) -> None:
        self._stopping.wait(None if answer.fault == "stall" else answer.latency_s)
        if answer.fault in ("stall", "reset"):
            handler.close_connection = True
            return
        body = answer.raw if answer.raw is not None else _encoded(handler.path, answer, asked)
        handler.send_response(answer.status)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        if answer.fault == "truncate":
            handler.close_connection = True
            body = body[: len(body) // 2]
        handler.wfile.write(body)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    # The standard library lets five connections wait, and the system refuses the rest of a burst.
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left before its answer is no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _encoded(path: str, answer: Answer, asked: Body) -> bytes:
    if answer.status != 200:  # noqa: PLR2004 - the one good status that these APIs use
        error = {"type": "error", "error": {"type": "api_error", "message": answer.text}}
        return json.dumps(error).encode()
    model = answer.model or asked.get("model", "")
    if path.endswith("/messages"):
        return json.dumps(_anthropic(answer, model)).encode()
    if path.endswith("/responses"):
        return json.dumps(_responses(answer, model)).encode()
    return json.dumps(_chat(answer, model)).encode()


def _chat(answer: Answer, model: str) -> Body:
    refused = answer.finish == "refusal"
    message = {
        "role": "assistant",
        "content": None if refused else answer.text,
        "refusal": answer.text if refused else None,
    }
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop" if refused else answer.finish}],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": answer.output_tokens,
            "total_tokens": 7 + answer.output_tokens,
        },
    }


def _responses(answer: Answer, model: str) -> Body:
    refused, cut = answer.finish == "refusal", answer.finish == "length"
    content = (
        {"type": "refusal", "refusal": answer.text}
        if refused
        else {"type": "output_text", "text": answer.text, "annotations": []}
    )
    return {
        "id": "resp-1",
        "object": "response",
        "created_at": 0,
        "model": model,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "error": None,
        "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [content]}],
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 7 + answer.output_tokens,
        },
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
    }


def _anthropic(answer: Answer, model: str) -> Body:
    reasons = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}
    return {
        "id": "msg-1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": answer.text}] if answer.text else [],
        "stop_reason": reasons[answer.finish],
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": answer.output_tokens},
    }
