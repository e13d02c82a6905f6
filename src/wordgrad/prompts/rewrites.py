"""The prompts of optimizers: they turn feedback on a value into another value."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wordgrad.prompts.forms import asked_again
from wordgrad.prompts.render import Prompt, mark, one_line, prompt, section, shortened

_MARK = re.compile(r"^</([A-Za-z0-9]+-[0-9a-f]{8,})>$", re.MULTILINE)
_LABELS = 12
"""So many outputs can be a set of labels."""
_LABEL = 40
"""So many characters can be a label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One piece of feedback as an optimizer reads it. Empty fields are left out."""

    change: str
    input: str = ""
    output: str = ""
    expected: str = ""
    judged: str = ""
    """The judge's own words."""
    part: str = ""
    """Which part of a larger text the value was."""
    aim: str = ""
    """Which of several objectives it is about, by number."""
    quote: str = ""
    keep: str = ""
    severity: int = 2
    """How bad the fault was: which records go first where not all fit."""
    support: int = 1
    """For how many failing examples it speaks."""

    def text(self, *, wanted: bool = True) -> str:
        """The request, then one field a line. Later lines are indented, so that no text can pass for another field.

        Args:
            wanted: Whether to say the wanted output, where the request does not.
        """
        # A critic has put what it saw into its request; the judge's bare words say nothing without what they are about.
        bare = self.judged in ("", self.change)
        fields = {
            "aim": self.aim,
            "part": self.part,
            "input": self.input if bare else "",
            "output": self.output if bare else "",
            "wanted": self.expected if wanted and self.expected not in self.change else "",
            "judge": "" if bare or self.expected else self.judged,
            "quote": self.quote,
            "keep": self.keep,
            "seen": f"{self.support} times" if self.support > 1 else "",
        }
        return "\n".join(filter(None, (indented(self.change), _fields(fields))))

    def evidence(self) -> str:
        """What happened, without anybody's request."""
        return _fields({"input": self.input, "output": self.output, "wanted": self.expected})

    def shortened(self, chars: int) -> Record:
        """The record with each text's middle left out, and marked, beyond `chars` characters."""
        return replace(
            self,
            change=shortened(self.change, chars),
            input=shortened(self.input, chars),
            output=shortened(self.output, chars),
            expected=shortened(self.expected, chars),
            judged=shortened(self.judged, chars),
            quote=shortened(self.quote, chars),
            keep=shortened(self.keep, chars),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an optimizer knows of one value that it is to rewrite."""

    value: str
    role: str
    records: tuple[Record, ...]
    left_out: int = 0
    """How many records did not fit."""
    objectives: tuple[str, ...] = ()
    """What the results are judged by."""
    constraints: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    """Values of the kind that is wanted."""
    history: str = ""
    """What earlier steps tried."""
    emphasis: str = ""
    """What this candidate should try, so that candidates differ."""
    by_edits: bool = False
    """Whether the value is so long that places in it are changed, and the rest is not written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt for a new value, and how its reply is read."""

    prompt: Prompt
    delimiter: str
    """Of the tags in a reply; made from all that the prompt shows."""
    as_json: bool
    """Whether the reply is JSON (the engine keeps to a schema), else text between tags."""
    by_edits: bool = False
    """Whether the reply is changes to the value, else the whole new value."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The delimiters of the fences in the prompt, which no value may hold, and of the reply's tags."""
        return (self.delimiter, *_MARK.findall("\n".join(each.text for each in self.prompt.messages)))


def rewrite(work: Work, *, as_json: bool) -> Asked:
    """Ask for a new value that answers the feedback, or for changes to a long one."""
    history = section("What was tried before, oldest first", work.history, "history")
    records = section(f"Feedback{_left_out(work)}", _feedback(work.records), "feedback")
    name = "rewrite_edits" if work.by_edits else "rewrite"
    return _asked(name, work, as_json=as_json, records=records, history=history, objectives=_objectives(work))


def one_shot(work: Work, *, as_json: bool) -> Asked:
    """Ask for a better value, shown the failures alone: neither critique nor history."""
    listed = numbered([record.evidence() for record in work.records])
    records = section(f"Where it failed{_left_out(work)}", listed, "records")
    return _asked("one_shot", work, as_json=as_json, records=records, objectives=_objectives(work))


def compress(work: Work, *, as_json: bool) -> Asked:
    """Ask for the same in fewer words, however long the value is: no feedback is shown."""
    return _asked("compress", work, as_json=as_json)


def repair(asked: Asked, reply: str, reasons: Sequence[str]) -> Asked:
    """Ask once more, shown the reply and what is wrong with it."""
    return replace(asked, prompt=asked_again(asked.prompt.messages, reply, reasons, form=_form(asked)))


def reduce(records: Sequence[str], *, groups: int) -> Prompt:
    """Ask which of many records want the same change; the reply is a `ReduceReply` that names them by number, from 1.

    Args:
        records: The text of each.
        groups: How many groups are wanted at most.
    """
    return prompt("reduce", records=section("The records", numbered(records), "records"), groups=str(groups))


def numbered(texts: Sequence[str]) -> str:
    """Texts of indented fields as one, each under its number."""
    return "\n".join(f"record {number}\n{text}" for number, text in enumerate(texts, start=1))


def _fields(fields: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {indented(text)}" for name, text in fields.items() if text.strip())


def _left_out(work: Work) -> str:
    return f" ({work.left_out} more records left out)" if work.left_out else ""


def _objectives(work: Work) -> str:
    return section("Judged by", _listed(work.objectives), "objective")


def _asked(name: str, work: Work, *, as_json: bool, **sections: str) -> Asked:
    """The prompt `name`.md, with what all of them show and these sections."""
    # Asked for by its role and not as "the text", a small model writes a prompt and does not do what the prompt says.
    role = one_line(work.role) or "text"
    slots = {
        **sections,
        "role": role,
        "examples": section("Good texts of this kind", "\n\n".join(work.examples), "examples"),
        "value": section(f"The current {role}", work.value, "current"),
        "constraints": section(
            "It must keep to this", "\n".join(f"- {indented(each)}" for each in work.constraints), "rules"
        ),
        "emphasis": f"{work.emphasis} " if work.emphasis else "",
    }
    delimiter = mark("new", "\n".join(slots.values()))
    asked = Asked(prompt=Prompt((), ""), delimiter=delimiter, as_json=as_json, by_edits=name == "rewrite_edits")
    return replace(asked, prompt=prompt(name, functools.partial(_replied, asked), **slots, form=_form(asked)))


def _replied(asked: Asked, text: str) -> str:
    """An example's new text, in the form that is asked for."""
    if asked.as_json:
        return json.dumps({"value": text}, ensure_ascii=False)
    return f"<{asked.delimiter}>\n{text}\n</{asked.delimiter}>"


def _feedback(records: Sequence[Record]) -> str:
    """The requests as a list; where few outputs are wanted, and often, under the output that was wanted."""
    # Requests have no numbers: a small model mixes them up with what they are about.
    groups: dict[str, list[Record]] = {"": []}
    for record in records:
        groups.setdefault(record.expected, []).append(record)
    unasked = groups.pop("")
    # As a heading, an output that is wanted of one input alone would pass for a rule.
    few = 2 * len(groups) <= len(records) - len(unasked)
    if not few or len(groups) > _LABELS or not all(map(_is_label, groups)):
        return "\n".join(_item(record.text()) for record in records)
    lines = [_item(record.text()) for record in unasked]
    for output, wanting in groups.items():
        lines += [f"{output}:", *(_item(record.text(wanted=False)) for record in wanting)]
    return "\n".join(lines)


def _is_label(output: str) -> bool:
    """Whether it can be a line of its own that does not look like a request."""
    return len(output) <= _LABEL and output == one_line(output) and not output.startswith("-")


def _item(text: str) -> str:
    return "- " + text.replace("\n", "\n  ")


def _listed(texts: Sequence[str]) -> str:
    return (
        texts[0] if len(texts) == 1 else "\n".join(f"{place}. {indented(text)}" for place, text in enumerate(texts, 1))
    )


def _form(asked: Asked) -> str:
    tag = asked.delimiter
    if asked.as_json and asked.by_edits:
        return (
            'Reply with JSON only: {"edits": [{"find": "exact words of the current text", '
            '"replace": "the words in their place"}]}'
        )
    if asked.as_json:
        return 'Reply with JSON only: {"value": "the whole new text"}'
    # Here and below the closing mark comes first: a reply that repeats these words then holds no text between the two.
    if asked.by_edits:
        return (
            f"For each change write the exact words of the current text, ended by </find-{tag}> and begun by "
            f"<find-{tag}>, then the words in their place, ended by </with-{tag}> and begun by <with-{tag}>."
        )
    return f"Reply with the whole new text between two marks. </{tag}> ends it, <{tag}> begins it; write each once."


def indented(text: str) -> str:
    """`text` as a field of a record: its later lines cannot pass for another field."""
    return "\n  ".join(text.strip().splitlines())
