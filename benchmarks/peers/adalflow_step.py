"""One optimisation step in AdalFlow: `python adalflow_step.py ADDRESS K B`, in an environment with `adalflow[openai]`.

Its losses are functions with a score, so no judge is called here. Its tokenizer downloads a vocabulary when it is made;
words are counted in its place, so that this runs on a machine without a way out.
"""

from __future__ import annotations

import os
import sys

from phases import phase

address, k, b = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ["OPENAI_API_KEY"] = "none"

import tiktoken  # noqa: E402


class Words:
    """Splits at spaces."""

    def encode(self, text: str, **_: object) -> list[int]:
        """One number a word."""
        return [0] * len(text.split())


tiktoken.get_encoding = lambda _: Words()

import adalflow as adal  # noqa: E402
from adalflow.components.model_client import OpenAIClient  # noqa: E402
from adalflow.core.generator import BackwardEngine  # noqa: E402
from adalflow.optim.text_grad.text_loss_with_eval_fn import EvalFnToTextLoss  # noqa: E402
from adalflow.optim.text_grad.tgd_optimizer import TGDOptimizer  # noqa: E402

client, asked = OpenAIClient(base_url=f"{address}/v1"), {"model": "gpt-4o"}
prompts = [
    adal.Parameter(
        data=f"You do step {n} of a task. Answer.",
        role_desc=f"system prompt {n}",
        requires_opt=True,
        param_type=adal.ParameterType.PROMPT,
    )
    for n in range(k)
]
template = "<START_OF_SYSTEM_PROMPT>{{system}}<END_OF_SYSTEM_PROMPT><START_OF_USER>{{text}}<END_OF_USER>"
models = [
    adal.Generator(model_client=client, model_kwargs=asked, template=template, prompt_kwargs={"system": each})
    for each in prompts
]
critic = BackwardEngine(model_client=client, model_kwargs=asked)
for each in models:
    each.set_backward_engine(critic)
    each.train()
judge = EvalFnToTextLoss(
    eval_fn=lambda y, y_gt: 0.0, eval_fn_desc="is it exact, and short: 1 if so, else 0", backward_engine=critic
)
optimizer = TGDOptimizer(prompts, model_client=client, model_kwargs=asked, one_parameter_at_a_time=False)

losses = []
with phase(address, "forward"):
    for number in range(b):
        text = f"question {number}"
        for model in models:
            text = model.forward(prompt_kwargs={"text": text}, id=f"{number}")
        wanted = adal.Parameter(data="right", role_desc="what is wanted", requires_opt=False)
        losses.append(judge(kwargs={"y": text, "y_gt": wanted}, id=f"{number}", gt="right"))
with phase(address, "backward"):
    for loss in losses:
        loss.backward()
with phase(address, "update"):
    optimizer.propose()
    optimizer.step()
