"""One optimisation step in Trace: `python trace_step.py ADDRESS K B`, where `trace-opt` and `openai` are installed."""

from __future__ import annotations

import os
import sys

from phases import phase

address, k, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ |= {
    "TRACE_DEFAULT_LLM_BACKEND": "CustomLLM",
    "TRACE_CUSTOMLLM_URL": f"{address}/v1",
    "TRACE_CUSTOMLLM_API_KEY": "none",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else its import looks for a list on the network
}

from openai import OpenAI  # noqa: E402
from opto.optimizers import OptoPrime  # noqa: E402 - it reads the environment
from opto.trace import bundle, node  # noqa: E402

client = OpenAI(base_url=f"{address}/v1", api_key="none")


def asked(system: str, text: str) -> str:
    """One call."""
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content


@bundle()
def model(system: str, text: str) -> str:
    """[model] A language model answers the text, as its system prompt says."""
    return asked(system, text)


@bundle()
def concat(*items: str) -> str:
    """[concat] Concatenate the items into a single text."""
    return "\n".join(f"ID [{number}]: {item}" for number, item in enumerate(items))


prompts = [node(f"You do step {n} of a task. Answer.", trainable=True) for n in range(k)]
optimizer = OptoPrime(prompts)
outputs, feedback = [], []
with phase(address, "forward"):
    for number in range(b):
        text = node(f"question {number}")
        for prompt in prompts:
            text = model(prompt, text)
        outputs.append(text)
        feedback.append(asked("Judge the answer: is it exact, and short? Say what to improve.", text.data))
with phase(address, "backward"):
    # One output and one feedback for all examples, as Trace's own guide to minibatches has it: feedbacks that differ
    # cannot be given one after the other.
    optimizer.zero_feedback()
    optimizer.backward(concat(*outputs), concat(*feedback).data)
with phase(address, "update"):
    optimizer.step()
