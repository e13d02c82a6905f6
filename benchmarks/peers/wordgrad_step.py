"""One optimisation step in wordgrad: `python wordgrad_step.py ADDRESS K B STRATEGY`."""

from __future__ import annotations

import sys

from phases import phase

import wordgrad as wg

address, k, b, strategy = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
strategies = {"per_node": wg.per_node, "per_edge": wg.per_edge, "fused": wg.fused}
engine = f"openai:m@{address}/v1"
wg.set_backward_engine(engine)
prompts = [
    wg.Variable(f"You do step {n} of a task. Answer.", f"system prompt {n}", requires_grad=True) for n in range(k)
]
models = [wg.BlackboxLLM(engine, system_prompt=each) for each in prompts]
judge = wg.TextLoss("Judge the answer: is it exact, and short? Say what to improve.")
optimizer = wg.TGD(prompts)

with phase(address, "forward"):
    losses = []
    for number in range(b):
        text = wg.Variable(f"question {number}", "question")
        for model in models:
            text = model(text)
        losses.append(judge(text))
    for loss in losses:
        _ = loss.value
with phase(address, "backward"):
    wg.backward(losses, strategy=strategies[strategy])
with phase(address, "update"):
    result = optimizer.step()
assert result.applied, result
