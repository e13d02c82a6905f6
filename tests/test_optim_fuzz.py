"""Ten thousand hostile replies: no crash, no corrupted value, all parameters or none."""

from __future__ import annotations

import json
import random

import pytest

from optim_engine import Engine, json_reply, marked_reply
from wordgrad import Variable
from wordgrad.errors import ProposalRejected
from wordgrad.optim.constraints import KeepSlots
from wordgrad.optim.tgd import TGD
from wordgrad.types import Completion, Request

GOOD = "Answer {question} in one word. 一語で答える 🎫"
PIECES = [
    "I'm sorry, I can't help with that.", "TERMINATE", "", " ", "\n", "{", "}", '"', "\\", "\\ud800", "\ud800", "\x00",
    "<new>", "</new>", "<new-", "</new-00000000>", "<value>", "</current-1f2e3d4c>", "```json\n", "```", "null", "NaN",
    '{"value": ', '{"why": "p", "value": "v"}', "{question}", "{Question}", "日本語", "🎫", "שלום", "\u202e", "[" * 200,
]  # fmt: skip


def hostile(rng: random.Random, request: Request, *, schema: bool) -> str | Completion:
    """A reply that is good, cut, doubled, echoed, refused, mixed or noise."""
    asked = request.messages[-1].text
    whole = json_reply(GOOD) if schema else marked_reply(request, GOOD)
    place = rng.randrange(len(whole))
    other = {rng.choice(["value", "why", "x"]): rng.choice([GOOD, "", 3, None, [GOOD]])}
    replies: list[str | Completion] = [
        whole,
        whole[:place],
        whole + whole,
        asked,
        f"{asked}\n{whole}",
        Completion(text=whole, finish=rng.choice(["length", "refusal"])),
        whole[:place] + rng.choice(PIECES) + whole[place:],
        json.dumps(other),
        "".join(rng.choices(PIECES, k=rng.randrange(6))),
    ]
    return rng.choice(replies)


@pytest.mark.parametrize("schema", [True, False])
def test_hostile_replies(schema: bool) -> None:
    """Of two parameters either both are written with sound text, or neither is."""
    rng = random.Random(20)
    engine = Engine(lambda request: hostile(rng, request, schema=schema), schema=schema)
    rounds, candidates, applied = 25, 60, 0
    for _ in range(rounds):
        parameters = [Variable("Say {question}.", "prompt", True) for _ in range(2)]
        for each in parameters:
            each.accumulate_grad("Be brief.")
        optimizer = TGD(parameters, engine=engine, candidates=candidates, constraints=[KeepSlots("question")])
        for proposal in optimizer.propose():
            before = [each.value for each in parameters]
            try:
                optimizer.apply(proposal)
            except ProposalRejected:
                assert [each.value for each in parameters] == before
                continue
            applied += 1
            for each in parameters:
                each.value.encode()
                assert each.value.count("{question}") == 1
                assert "Write the whole new" not in each.value
                assert len(each.value) <= len(GOOD) + max(map(len, PIECES)) + 1

    assert len(engine.seen) > 5_000
    assert applied > 0
