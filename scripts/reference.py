"""Write the reference pages from the code: `make docs`. A test compares them with it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"reference.md": "wordgrad", "reference-testing.md": "wordgrad.testing"}


def page(module_name: str) -> str:
    """The reference of one module: each public name with its signature and its docstring."""
    module = import_module(module_name)
    entries = [f"# `{module_name}`", inspect.getdoc(module) or ""]
    for name in module.__all__:
        entries += [f"### `{name}`", *entry(name, getattr(module, name))]
    return "\n\n".join(entries) + "\n"


def entry(name: str, value: object) -> list[str]:
    """What is said of one name, as paragraphs; what follows a docstring's first paragraph stands as it is."""
    if isinstance(value, str):
        return [f"The type `{value}`."]
    first, _, rest = (inspect.getdoc(value) or "").partition("\n\n")
    signature = signature_of(value)
    paragraphs = [f"```python\n{name}{signature}\n```"] if signature else []
    paragraphs.append(" ".join(first.split()))
    return [*paragraphs, f"````text\n{rest}\n````"] if rest else paragraphs


def signature_of(value: object) -> str:
    """How it is called; "" for what is not, such as a strategy or a Protocol."""
    if not callable(value) or getattr(value, "_is_protocol", False):
        return ""
    try:
        signature = inspect.signature(value)
    except ValueError:  # an exception that keeps Exception's own signature
        return ""
    returned = inspect.Signature.empty if inspect.isclass(value) else Bare(signature.return_annotation)
    parameters = [each.replace(annotation=Bare(each.annotation)) for each in signature.parameters.values()]
    written = str(signature.replace(parameters=parameters, return_annotation=returned))
    return re.sub(r"<[^=]+? at 0x[0-9a-f]+>", "…", written)


class Bare(str):
    """An annotation that prints without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


if __name__ == "__main__":
    for file, module_name in PAGES.items():
        (DOCS / file).write_text(page(module_name), encoding="utf-8")
