"""Filling the prompt files: declared slots, one pass, and fences around every text that is not ours."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from wordgrad import context
from wordgrad.errors import UsageError
from wordgrad.types import Message

_SLOT = re.compile(r"\{\{([a-z_]+)\}\}")
_BREAK = "\n---\n"
"""Between the messages: the system's, then pairs of an example and its reply, which have no slots, then the user's."""
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine is sent, and the hash of the file that it was made from."""

    messages: tuple[Message, ...]
    template: str


@cache
def _template(name: str) -> str:
    return files(__package__).joinpath(f"{name}.md").read_text("utf-8")


@cache
def template_hash(name: str) -> str:
    """sha256 of the file `name`.md, recorded with every call."""
    return hashlib.sha256(_template(name).encode()).hexdigest()


def render(name: str, /, **slots: str) -> str:
    """The text of the file `name`.md with its slots filled, in one pass: a value is never scanned again.

    Raises:
        UsageError: The slots given are not the file's.
    """
    return _filled(name, _template(name), slots)


def prompt(name: str, reply: Callable[[str], str] = str, /, **slots: str) -> Prompt:
    """The file `name`.md as messages: the fixed parts first, so that prefix caches hit, then the filled user part.

    Args:
        name: The file's.
        reply: Puts an example's reply into the form that is asked for.
        slots: What the user part is filled with.

    Raises:
        UsageError: The slots given are not the user part's.
    """
    # Split first: a value that holds the break stays in one message.
    system, *examples, user = (part.strip() for part in _template(name).split(_BREAK))
    messages = [Message("system", (system,))]
    for asked, said in zip(examples[::2], examples[1::2], strict=True):
        messages += [Message("user", (asked,)), Message("assistant", (reply(said),))]
    messages.append(Message("user", (_filled(name, user, slots).strip(),)))
    return Prompt(tuple(messages), template_hash(name))


def _filled(name: str, template: str, slots: dict[str, str]) -> str:
    declared = dict.fromkeys(_SLOT.findall(template))
    if declared.keys() != slots.keys():
        raise UsageError(f"the prompt {name!r} has the slots {list(declared)}, but was given {list(slots)}")
    return _SLOT.sub(lambda slot: slots[slot[1]], template)


def mark(label: str, content: str) -> str:
    """A delimiter that a writer of `content` cannot guess and that does not occur in it: `label-1f2e3d4c`.

    It is a hash of the run's secret and the content: the same text gets the same delimiter.
    """
    digest = hashlib.shake_256(context.secret() + f"{label}:{content}".encode("utf-8", "surrogatepass"))
    digits = _DIGITS
    while (found := f"{label}-{digest.hexdigest(digits)[:digits]}") in content:
        digits += 1
    return found


def fence(content: str, label: str) -> str:
    """`content` between two marks, on lines of their own."""
    delimiter = mark(label, content)
    return f"<{delimiter}>\n{content}\n</{delimiter}>"


def section(title: str, content: str, label: str) -> str:
    """A titled fence and the space after it; nothing where there is no content."""
    return f"{title}:\n{fence(content, label)}\n\n" if content else ""


def one_line(text: str) -> str:
    """`text` with its white space collapsed, for the few words of a program's author that stand outside a fence."""
    return " ".join(text.split())


def shortened(text: str, chars: int) -> str:
    """`text`, or its start and its end with a note between them of how much was left out."""
    if len(text) <= chars:
        return text
    half = chars // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
