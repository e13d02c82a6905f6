"""What people see: on a terminal, in a log, and afterwards in `runs show` and Markdown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from project import BETTER, START, Project, Pupil, project
from wordgrad.cli import steps
from wordgrad.cli.screen import Screen
from wordgrad.compose import Totals
from wordgrad.compose.record import recorded
from wordgrad.compose.report import markdown
from wordgrad.core.gradient import Gradient
from wordgrad.store.runs import Record, RunRow
from wordgrad.train.events import Advance, Phase, Step

__all__ = ["project"]

HOSTILE = "[bold]CAPITALS[/bold] \x1b[2J\x9b2J\x07 [/nothing] :smile:"
"""Markup that rich would read, or stumble over, and codes that a terminal would obey."""
SEEN = "[bold]CAPITALS[/bold] ␛[2J␦2J␇ [/nothing] :smile:"


def terminal(*, width: int = 100, **options: object) -> Console:
    """A terminal with colours that keeps what is written."""
    return Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=width, **options)  # type: ignore[arg-type]


def log() -> Console:
    """A file."""
    return Console(file=io.StringIO(), width=100)


def written(console: Console) -> str:
    """All that went out, codes included."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def a_step(after: str = BETTER, feedback: tuple[Gradient, ...] = (), *, accepted: bool = True) -> Step:
    """A step that found `after`."""
    return Step(
        number=1,
        accepted=accepted,
        reason="because",
        before={"prompt": START},
        after={"prompt": after},
        feedback={"prompt": feedback},
        lead=None,
    )


def gradients(*texts: str) -> tuple[Gradient, ...]:
    """Feedback, each the less severe the later it comes."""
    return tuple(Gradient(text=text, slot=slot, severity=3 - slot) for slot, text in enumerate(texts))


# ---- a step


def test_a_step_on_a_terminal_has_a_coloured_diff_and_its_feedback() -> None:
    """New is green and gone is struck red; the frame says whether the search goes on from it, and why."""
    console = terminal()
    steps.show(recorded(a_step("Say it LOUD.", gradients("Be loud."))), console)
    out = written(console)

    assert "\x1b[32m LOUD\x1b[0m" in out
    assert "\x1b[32ma new text leads\x1b[0m" in out
    assert "because" in out
    assert "• Be loud." in out


@pytest.mark.parametrize("options", [{"no_color": True}, {"color_system": None}])
def test_without_colours_a_diff_has_marks(options: dict[str, object]) -> None:
    """With NO_COLOR, or where a terminal has none, what changed can still be told apart."""
    console = Console(**{"file": io.StringIO(), "force_terminal": True, "width": 100, **options})  # type: ignore[arg-type]
    steps.show(recorded(a_step("Do it.")), console)

    assert "[-Say-]{+Do+} it." in written(console)


def test_a_step_in_a_log_is_indented_lines() -> None:
    """No frame and no code; whole, so that a log can be searched."""
    console = log()
    steps.show(recorded(a_step("Do it.", gradients("a", "b"))), console)

    assert written(console).splitlines() == [
        "step 1: a new text leads",
        "  because",
        "",
        "  prompt:",
        "  [-Say-]{+Do+} it.",
        "",
        "  feedback on prompt:",
        "  • a",
        "  • b",
    ]


def test_a_candidate_that_was_not_taken_is_called_one() -> None:
    """The diff of a step that kept the text is not mistaken for a change."""
    console = log()
    steps.show(recorded(a_step("Do it.", accepted=False)), console)

    assert written(console).splitlines()[0] == "step 1: kept the present text"
    assert "  prompt, the best candidate:" in written(console)


def test_the_most_severe_feedback_comes_first_and_once() -> None:
    """Three pieces are shown, and how many more there are; the store keeps all of them."""
    step = recorded(a_step(feedback=(*reversed(gradients("a", "b", "c", "d", "e")), *gradients("a"))))
    console = log()
    steps.show(step, console)

    assert step["feedback"] == {"prompt": ["a", "b", "c", "d", "e"]}
    assert written(console).splitlines()[-4:] == ["  • a", "  • b", "  • c", "  and 2 more"]


@pytest.mark.parametrize("console", [terminal(width=120), log()], ids=["terminal", "log"])
def test_texts_are_data(console: Console) -> None:
    """Markup in a model's text is not read, and its control characters are shown, not sent; names and reasons too."""
    step = Step(
        number=1,
        accepted=True,
        reason=HOSTILE,
        before={HOSTILE: ""},
        after={HOSTILE: HOSTILE},
        feedback={HOSTILE: gradients(HOSTILE)},
        lead=None,
    )
    steps.show(recorded(step), console)
    out = written(console)

    assert out.count(SEEN) == 5
    assert not {"\x1b[2J", "\x9b", "\x07"} & {code for code in ("\x1b[2J", "\x9b", "\x07") if code in out}


def test_a_step_in_markdown_cannot_leave_its_block() -> None:
    """Texts stand in code blocks that are longer than any fence in them, all feedback included."""
    step = recorded(a_step("Do it.\n````\n# no heading", gradients("a", "```", "c", "d")))
    run = RunRow(id="id", name="name", seed=0, started_at=0.0, status="done", report=None)

    lines = markdown(Record(run=run, steps=[step], versions={}, calls=[], spent=[], review=None, end={})).splitlines()

    assert lines[lines.index("## Step 1: a new text leads") : lines.index("## What it took")] == [
        "## Step 1: a new text leads",
        "",
        "```text",
        "because",
        "```",
        "",
        "### prompt",
        "",
        "`````text",
        "[-Say-]{+Do+}¹ it.{+",
        "````+}²{+",
        "# no heading+}³",
        "`````",
        "",
        "### Feedback on prompt",
        "",
        "````text",
        "In the words of no change:",
        "• a",
        "• ```",
        "• c",
        "• d",
        "````",
        "",
    ]


# ---- what was used


def test_usage_has_all_that_a_run_spends() -> None:
    """Calls, tokens both ways, the rate of those written in this phase, seconds, and money where it is known."""
    now = [0.0]
    used = [Totals(calls=1, output_tokens=500, cost_usd=None, seconds=60.0)]
    screen = Screen(log(), lambda: used[0], clock=lambda: now[0])
    screen(Phase("reading", 3))
    now[0] = 4.0
    used[0] = Totals(calls=7, input_tokens=12_345, output_tokens=620, cost_usd=0.01234)
    screen(Advance(2))

    assert screen.usage() == "7 calls · 12,345 tokens read, 620 written · 30 tok/s · 64 s · $0.0123"


def test_a_log_has_a_line_for_each_phase() -> None:
    """What is done, and how much of it there is."""
    console = log()
    with Screen(console, Totals) as screen:
        screen(Phase("scoring [red]", 40))
        screen(Advance(1))

    assert written(console) == "scoring [red] (40)\n"


@pytest.mark.parametrize("width", [40, 100])
def test_a_terminal_has_a_bar(width: int) -> None:
    """What is done, how far it is and what was used are there while it runs, in narrow windows too, and then gone."""
    console = terminal(width=width)
    with Screen(console, lambda: Totals(calls=3)) as screen:
        screen(Phase("first", 2))
        screen(Phase("scoring the rows", 40))
        screen(Advance(17))
        screen._progress.refresh()  # type: ignore[union-attr] - as the timer of the bar does
        during = written(console)
    after = written(console)[len(during) :]

    assert all(words in during for words in ("scoring the rows", "17/40", "3 calls"))
    assert after.endswith("\x1b[2K")


# ---- afterwards


def test_a_run_shows_in_the_end_what_it_showed_while_it_ran(project: Project) -> None:
    """`runs show` prints each step as the screen did: the diff, and the feedback that caused it."""
    project.engine(Pupil({"value": HOSTILE}))
    code, during, _ = project.run("optimize", project.config)
    run = project.json("runs", "list")[0]["run"]
    _, after, _ = project.run("runs", "show", run)
    step = during[during.index("step 1: ") : during.index("\n  28 calls")]

    assert code == 0
    assert step in after
    assert "[-Say it.-]{+[bold]CAPITALS[/bold] ␛[2J␦2J␇ [/nothing] :smile:+}" in step
    assert "  feedback on prompt:\n  • Be exact." in step


def test_an_exported_run_has_its_steps(project: Project) -> None:
    """Markdown has the diff and the feedback of each step, then both texts."""
    run = str(project.json("optimize", project.config)["run"])

    _, out, _ = project.run("runs", "export", run)

    assert f"# Run {run}\n" in out
    assert "## Step 1: a new text leads\n" in out
    assert "### prompt\n\n```text\nSay it{+ in CAPITALS+}¹.\n```\n" in out
    assert "### Feedback on prompt\n\n```text\nIn the words of no change:\n• Be exact.\n```\n" in out
    assert "## Step 2: kept the present text\n" in out
    assert f"## prompt: end\n\n```text\n{BETTER}\n```\n" in out


def test_names_in_lists_are_data(project: Project) -> None:
    """A folder may be called anything."""
    folder = project.folder / "[red]shop[bold]"
    folder.mkdir()
    for name in ("wordgrad.toml", "prompt.txt", "train.jsonl", "validation.jsonl", "test.jsonl"):
        (folder / name).write_bytes((project.folder / name).read_bytes())
    project.run("optimize", folder / "wordgrad.toml")

    code, out, _ = project.run("runs", "list")

    assert (code, folder.name in out) == (0, True)


def test_a_run_on_a_terminal_ends_with_both_scores(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a terminal there are frames and colours; the same words as in a log."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    code, out, _ = project.run("optimize", project.config)

    assert code == 0
    assert "\x1b[" in out
    assert "╭─" in out
    assert "100.0%" in out
    assert "wordgrad runs show" in out
