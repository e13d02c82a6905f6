"""One optimisation step in TextGrad: `python textgrad_step.py ADDRESS K B`, in an environment with `textgrad`."""

from __future__ import annotations

import os
import sys

from phases import phase

address, k, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ |= {"OPENAI_BASE_URL": f"{address}/v1", "OPENAI_API_KEY": "none"}

import textgrad as tg  # noqa: E402 - it reads the environment
from textgrad.engine.openai import ChatOpenAI  # noqa: E402

engine = ChatOpenAI("gpt-4o")
tg.set_backward_engine(engine, override=True)
prompts = [
    tg.Variable(f"You do step {n} of a task. Answer.", requires_grad=True, role_description=f"system prompt {n}")
    for n in range(k)
]
models = [tg.BlackboxLLM(engine, system_prompt=each) for each in prompts]
judge = tg.TextLoss("Judge the answer: is it exact, and short? Say what to improve.")
optimizer = tg.TGD(parameters=prompts)

losses = []
with phase(address, "forward"):
    for number in range(b):
        text = tg.Variable(f"question {number}", requires_grad=False, role_description="question")
        for model in models:
            text = model(text)
        losses.append(judge(text))
with phase(address, "backward"):
    tg.sum(losses).backward()
with phase(address, "update"):
    optimizer.step()
