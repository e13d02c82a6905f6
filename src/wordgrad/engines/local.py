"""The embedded engine: a small model on this machine, without an account, a key or another process."""

from __future__ import annotations

import functools
from pathlib import Path

import anyio.to_thread

from wordgrad.engines import llama, weights
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.errors import UsageError
from wordgrad.types import Capabilities, Completion, Price, Request


class LocalEngine:
    """llama.cpp in this process, reached through a loopback port that only this process has the key of.

    Args:
        path: A GGUF file; None for the catalogue's default, which `wordgrad models pull` downloads.

    The model is loaded by `start()` or the first `complete()`, so that a run can be replayed where there is none.
    """

    capabilities = Capabilities(schema=True, context_tokens=llama.CONTEXT_TOKENS)
    price = Price(input_usd=0.0, output_usd=0.0)
    # Not the address: its port is another one in each process, and this is a part of the request key.
    endpoint = "local"

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else Path(path).expanduser()
        self.name = "local" if path is None else f"local:{path}"
        self.model = weights.find(weights.DEFAULT).file if self._path is None else self._path.name
        self.max_in_flight = llama.slots()
        self._wire = functools.cache(self._connect)

    def start(self) -> None:
        """Load the model now; call it before forking, so that children share this process's server.

        Raises:
            UsageError: The weights or the extra `local` are missing; the message has the command that gets them.
        """
        llama.server(self._file())

    async def complete(self, request: Request) -> Completion:
        """Answer one request; cancelling closes the connection, and the server then drops the request."""
        server = await anyio.to_thread.run_sync(llama.server, self._file())
        return await self._wire(server.address, server.api_key).complete(request)

    def count_tokens(self, text: str) -> int:
        """An upper bound: one token a byte, which no tokenizer of these models exceeds.

        Asking the server would block the loop, and would make a replay need the weights.
        """
        return len(text.encode("utf-8", "surrogatepass"))

    def _file(self) -> Path:
        if self._path is not None:
            if not self._path.is_file():
                raise UsageError(f"there is no model file {str(self._path)!r}; give the path of a GGUF file")
            return self._path
        found = weights.installed(weights.find(weights.DEFAULT))
        if found is None:
            raise UsageError(
                f"the weights of the engine 'local' ({weights.DEFAULT}) are not on this machine; "
                f"run `wordgrad models pull {weights.DEFAULT}`"
            )
        return found

    def _connect(self, address: str, api_key: str) -> OpenAIEngine:
        return OpenAIEngine(
            self.name,
            self.model,
            base_url=f"{address}/v1",
            api_key=api_key,
            capabilities=self.capabilities,
            price=self.price,
            max_in_flight=self.max_in_flight,
        )
