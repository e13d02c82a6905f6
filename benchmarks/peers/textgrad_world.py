"""TextGrad in made-up worlds: `python textgrad_world.py`, in an environment with `textgrad`; see `world.visits`.

TextGrad has no search of its own: how a prompt is trained stands in its script evaluation/prompt_optimization.py, which
is no part of the package. This is that script with --run_validation, around the package's own model, loss, backward and
optimizer: batches of three; after each step the new prompt is scored on all validation rows, and reverted where its
mean is lower than the last one. Left out are the test scores, and its limit of three epochs of four steps each: it goes
on while the budget has room for another step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from statistics import fmean

import textgrad as tg
from textgrad.autograd.string_based_ops import StringBasedFunction
from world import START, Visit, visits

BATCH = 3


class Program(tg.EngineLM):
    """Answers rows."""

    model_string = "program"

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def generate(self, prompt: str, system_prompt: str | None = None) -> str:
        """Whether the row that a question names is answered right."""
        return "right" if self.visit.answer(str(system_prompt), int(prompt.rsplit(maxsplit=1)[-1])) else "wrong"

    __call__ = generate


class Author(tg.EngineLM):
    """Criticises and rewrites."""

    model_string = "author"

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def generate(self, prompt: str, system_prompt: str | None = None) -> str:
        """By what it is asked for."""
        if "<IMPROVED_VARIABLE>" in str(system_prompt):
            return f"<IMPROVED_VARIABLE>{self.visit.rewrite(prompt)}</IMPROVED_VARIABLE>"
        return self.visit.criticise()

    __call__ = generate


def equal(prediction: tg.Variable, ground_truth_answer: tg.Variable) -> int:
    """The loss, as in the package's tasks; the script counts with it, too."""
    return int(prediction.value == ground_truth_answer.value)


def batches(visit: Visit) -> Iterator[list[int]]:
    """Batches without end: the package's DataLoader, epoch after epoch, with random numbers of its own."""
    rng = random.Random(visit.run)
    while True:
        rows = list(visit.train)
        rng.shuffle(rows)
        for first in range(0, len(rows), BATCH):
            yield rows[first : first + BATCH]


def searched(visit: Visit) -> str:
    """The line of one run."""
    author = Author(visit)
    tg.set_backward_engine(author, override=True)
    prompt = tg.Variable(START, requires_grad=True, role_description="system prompt to the language model")
    model = tg.BlackboxLLM(Program(visit), prompt)
    optimizer = tg.TGD(engine=author, parameters=[prompt])
    loss = StringBasedFunction(equal, function_purpose="checks if the prediction is correct")

    def judged(row: int) -> tg.Variable:
        asked = tg.Variable(f"row {row}", requires_grad=False, role_description="query to the language model")
        wanted = tg.Variable("right", requires_grad=False, role_description="correct answer for the query")
        return loss(inputs={"prediction": model(asked), "ground_truth_answer": wanted})

    def scored() -> float:
        return fmean(int(judged(row).value) for row in visit.validation)

    scores, prompts, steps = [scored()], [prompt.value], batches(visit)
    while visit.rollouts + BATCH + len(visit.validation) <= visit.world.budget:
        optimizer.zero_grad()
        tg.sum([judged(row) for row in next(steps)]).backward()
        optimizer.step()
        score = scored()
        if score < scores[-1]:
            prompt.set_value(prompts[-1])
            score = scores[-1]
        scores.append(score)
        prompts.append(prompt.value)
    return visit.ended(prompt.value, scores[-1] - scores[0])


if __name__ == "__main__":
    tg.logger.setLevel("ERROR")  # it logs every call
    for each in visits():
        print(searched(each), flush=True)
