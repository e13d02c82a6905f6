"""thin"""

from __future__ import annotations
import functools, secrets, os
import xllamacpp as x
from wordgrad.engines.openai import OpenAIEngine
from wordgrad.types import Capabilities, Price

@functools.cache
def _server(path):
    p = x.CommonParams()
    p.model.path = path
    key = secrets.token_hex(16)
    p.api_keys = [key]
    p.hostnames = ["127.0.0.1"]
    p.port = 0
    p.n_parallel = 4
    p.n_ctx = 16384
    p.cpuparams.n_threads = 2
    p.cpuparams_batch.n_threads = 2
    p.n_gpu_layers = 0
    p.kv_unified = True
    p.verbosity = -1
    s = x.Server(p)
    return s, key

def LocalEngine():
    s, key = _server("/tmp/w/model.gguf")
    return OpenAIEngine("local", "local", base_url=s.listening_address + "/v1", api_key=key, capabilities=Capabilities(schema=True, context_tokens=16384), price=Price(input_usd=0, output_usd=0), max_in_flight=8)
