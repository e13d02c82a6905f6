"""An account of a run as a page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from wordgrad.compose import plots
from wordgrad.compose.account import Account, Stepped, Table, Text, pictured
from wordgrad.train.diff import Hunk, diff

_STYLE = """
:root { color-scheme: light dark; --new: #1a7f37; --gone: #b42318; --soft: #8882; --main: #2f6feb; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .8rem; border-radius: 6px; }
sup { color: var(--main); font-weight: 600; }
ins { color: var(--new); text-decoration: none; font-weight: 600; } del { color: var(--gone); }
table { border-collapse: collapse; margin: 1.5rem 0; } td, th { padding: .2rem .9rem .2rem 0; text-align: left; }
td:nth-child(n+2), th:nth-child(n+2) { text-align: right; font-variant-numeric: tabular-nums; }
.words2 :is(td, th):nth-child(-n+2), .words3 :is(td, th):nth-child(-n+3) { text-align: left; }
caption, figcaption { font-weight: 600; text-align: left; }
.decision { border-left: 4px solid var(--main); padding: .1rem .9rem; background: var(--soft); }
figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page asks nobody for anything, whatever a model's text says."""


def in_html(found: Account) -> str:
    """One page that needs nothing else: no script, no font, no address."""
    title = f"wordgrad run {found.run}"
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{_STYLE}{plots.STYLE}</style></head><body>",
            f"<h1>{_text(title)}</h1><p>{_text(found.headline)}</p>",
            *_said(found.said),
            *map(_table, found.tables),
            *(_figure(each.caption, each.drawing.inline()) for each in found.figures),
            _table(found.spent),
            *(part for step in found.steps for part in _step(step)),
            *map(_changed, found.texts),
            "</body></html>\n",
        ]
    )


def _said(sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield f'<div class="decision">{"".join(f"<p>{_text(each)}.</p>" for each in sentences)}</div>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(each)}</th>" for each in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{_text(each)}</td>' for each in row)}</tr>" for row in table.rows)
    caption = f"<caption>{_text(table.title)}</caption>"
    return f'<table class="words{table.words}">{caption}<tr>{head}</tr>{rows}</table>'


def _figure(caption: str, drawing: str) -> str:
    return f"<figure><figcaption>{_text(caption)}</figcaption>{drawing}</figure>"


def _step(step: Stepped) -> Iterator[str]:
    yield f"<h2>{_text(step.title)}</h2><p>{_text(step.reason)}</p>"
    for name, hunks, feedback in step.changes:
        if hunks:
            marked = [f"{_tagged(each)}<sup>{number}</sup>" for number, each in hunks]
            yield f"<h3>{_text(name)}</h3><pre>{''.join(marked)}</pre>"
        if feedback:
            yield f"<details open><summary>Feedback on {_text(name)}</summary>"
            for title, texts in feedback:
                yield f"<p>{title}</p>" if title else ""
                yield f"<ul>{''.join(f'<li>{_text(each)}</li>' for each in texts)}</ul>"
            yield "</details>"


def _changed(text: Text) -> str:
    changed = "".join(map(_tagged, diff(text.start, text.end)))
    return f"<h2>{_text(text.name)}: from start to end</h2><pre>{changed}</pre>"


def _tagged(hunk: Hunk) -> str:
    tags = {"same": "{}", "added": "<ins>{}</ins>", "removed": "<del>{}</del>"}
    return "".join(tags[kind].format(_text(text)) for kind, text in hunk.parts)


def _text(text: str) -> str:
    return escape(pictured(text))
