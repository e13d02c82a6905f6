"""Reports of a run: report.md with its figures, report.html, and the Markdown that is printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

import wordgrad as wg
from engines import verdicts
from project import BETTER, START, Project, Pupil, project
from wordgrad.testing import RuleEngine
from wordgrad.types import Price, Request

__all__ = ["project"]

HOSTILE = (
    "<img src=x onerror=alert(1)>|![x](http://evil.example/x.png) www.evil.example\n\n# `no` heading \ufffe\x1b[2J"
)
SVG = "{http://www.w3.org/2000/svg}"


def rows(split: str, count: int) -> list[dict[str, str]]:
    """Examples that ask to shout."""
    return [{"word": f"{split}{number}", "shout": f"{split}{number}".upper()} for number in range(count)]


TRAIN, VALIDATION, TEST = rows("train", 8), rows("held", 12), rows("test", 5)


def same(output: str, target: str) -> wg.Score:
    """The output is the target; odd and even words are told apart."""
    return wg.Score(float(output == target), tags={"number": "even" if output[-1] in "02468" else "odd"})


def trainer(engine: RuleEngine, metric: Any = same, *, name: str = "prompt", **options: Any) -> wg.Trainer:
    """Who teaches a prompt to shout."""
    prompt = wg.Variable(START, "system prompt", requires_grad=True)

    def program(variables: Mapping[str, wg.Variable], example: Mapping[str, Any]) -> wg.Variable:
        return wg.llm_call(variables[name], example["word"], engine=engine)

    plan = wg.Plan(steps=2, batch=4, candidates=2, critic=engine)
    made = {"plan": plan, "input": "word", "target": "shout", **options}
    return wg.Trainer(program, metric, variables={name: prompt}, **made)


def trained(engine: RuleEngine, metric: Any = same, *, budget: wg.Budget | None = None, **options: Any) -> wg.Result:
    """What the trainer finds."""
    return trainer(engine, metric, **options).fit(TRAIN, VALIDATION, TEST, budget=budget)


def saved(result: wg.Result, folder: Path) -> tuple[str, str]:
    """Its report.md and its report.html."""
    result.save(folder)
    markdown, page = ((folder / f"report.{form}").read_text("utf-8") for form in ("md", "html"))
    return markdown, page


def rendered(markdown: str) -> str:
    """The HTML that a reader makes of Markdown."""
    return str(MarkdownIt("commonmark").enable("table").render(markdown))


def cells(page: str) -> list[list[str]]:
    """The rows of all tables in HTML, without their heads."""
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]
    return [row for row in found if row]


# ---- figures


def test_figures_lie_beside_the_markdown(tmp_path: Path) -> None:
    """Each is a file that report.md shows, above the caption that the page has too."""
    markdown, page = saved(trained(Pupil()), tmp_path)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    shown = re.findall(r'<img src="(.*?)" alt="(.*?)" />', rendered(markdown))

    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "lengths.svg",
        "report.html",
        "report.md",
        "score.svg",
        "spending.svg",
    ]
    assert [name for name, _ in shown] == ["score.svg", "lengths.svg", "spending.svg"]
    assert [caption.replace("&#x27;", "'") for caption in captions] == [alt for _, alt in shown]
    assert all(f"<p>{alt}</p>" in rendered(markdown) for _, alt in shown)


def test_a_figure_needs_nothing_else(tmp_path: Path) -> None:
    """It has its own colours, ground and title, for light and for dark; neither a script nor an address."""
    trained(Pupil()).save(tmp_path)

    for file in tmp_path.glob("*.svg"):
        text = file.read_text("utf-8")
        drawing = ET.fromstring(text)
        assert {each.tag.removeprefix(SVG) for each in drawing.iter()} <= {
            *("svg", "title", "style", "rect", "text", "circle", "line", "polyline")
        }
        assert (drawing[0].tag, drawing[2].get("class")) == (f"{SVG}title", "ground")
        assert "prefers-color-scheme: dark" in text
        assert "var(" not in text
        assert not re.search(r"script|href|url\(|//", text.replace('xmlns="http://www.w3.org/2000/svg"', ""))


def test_a_figure_of_an_earlier_report_does_not_stay(tmp_path: Path) -> None:
    """A run in which nothing was raced has no scores to draw."""
    for engine in (Pupil(), Pupil({"value": START})):
        trained(engine).save(tmp_path)

    assert sorted(each.name for each in tmp_path.glob("*.svg")) == ["lengths.svg", "spending.svg"]
    assert "score.svg" not in (tmp_path / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("price", "unit", "label"),
    [
        (Price(input_usd=1_000.0, output_usd=2_000.0), "US$", r"\d+\.\d{4}"),
        (Price(input_usd=0.0, output_usd=0.0), "tokens read and written (the calls cost nothing)", r"[\d,]+"),
        (None, "tokens read and written (not every price is known)", r"[\d,]+"),
    ],
)
def test_cost_by_purpose_is_money_where_it_is_known(tmp_path: Path, price: Price | None, unit: str, label: str) -> None:
    """And more than none; else tokens stand for it, and the caption says why."""
    _, page = saved(trained(Pupil(price=price)), tmp_path)
    drawing = ET.fromstring((tmp_path / "spending.svg").read_text("utf-8"))
    said = [each.text or "" for each in drawing.iter(f"{SVG}text")]

    assert drawing.findtext(f"{SVG}title") == f"Cost by purpose, in {unit}"
    assert f"Cost by purpose, in {unit}</figcaption>" in page
    assert said[::2] == ["preflight", "forward", "backward", "optimize"]
    assert all(re.fullmatch(label, each) for each in said[1::2])


# ---- tables and sentences


def test_both_reports_have_the_same_tables(tmp_path: Path) -> None:
    """Scores on sealed and test rows, those of each kind of row, and what it took."""
    markdown, page = saved(trained(Pupil()), tmp_path)

    assert cells(rendered(markdown)) == cells(page)
    assert cells(page)[:6] == [
        ["sealed validation", "6", "0.0%", "100.0%", "+100.0 points", *cells(page)[0][5:]],
        ["sealed validation, number: even", "3", "0.0%", "100.0%", "", "", ""],
        ["sealed validation, number: odd", "3", "0.0%", "100.0%", "", "", ""],
        ["test", "5", "0.0%", "100.0%", "+100.0 points", "+100.0 points", cells(page)[3][6]],
        ["test, number: even", "3", "0.0%", "100.0%", "", "", ""],
        ["test, number: odd", "2", "0.0%", "100.0%", "", "", ""],
    ]


def test_printed_markdown_stands_alone(project: Project) -> None:
    """There are no files beside it, so it shows no image; it has the tables and the texts."""
    run = project.json("optimize", project.config)["run"]
    _, out, _ = project.run("runs", "export", run)
    _, page, _ = project.run("runs", "export", run, "--format", "html")

    assert "![" not in out
    assert cells(rendered(out)) == cells(page)
    assert out.count(BETTER) == page.count("Say it<ins> in CAPITALS</ins>.") == 1


@pytest.mark.parametrize("margin", [0.9, 0.1])
def test_guardrails_are_shown_kept_or_not(tmp_path: Path, margin: float) -> None:
    """With what was lost, what is certain and what would be borne; of a hard constraint the rows that break it."""

    def quiet(output: str, target: str) -> float:
        return 0.8 if output.isupper() else 1.0

    guardrails = {
        "quiet": wg.Guardrail(quiet, margin),
        "long": wg.Guardrail(lambda output, target: len(output) > 1, 0),
    }
    result = trained(Pupil(), guardrails=guardrails)
    markdown, page = saved(result, tmp_path)
    assert result.decision is not None
    guard = result.decision.guardrails["quiet"].guard
    assert guard is not None
    kept = "yes" if margin > 0.5 else "no"

    for form in (rendered(markdown), page):
        found = {row[0]: row[1:] for row in cells(form)}
        assert found["quiet"] == [kept, "", "-0.2", f"{guard.low:+.3g}", f"{margin:g}"]
        assert found["long"] == ["yes", "0", "", "", ""]


def test_a_broken_hard_constraint_shows_its_rows(tmp_path: Path) -> None:
    """No race may drop what only the sealed rows show: here all of them do."""
    sealed = sealed_words()

    def calm(output: str, target: str) -> bool:
        return not (output.isupper() and output.lower() in sealed)

    markdown, page = saved(trained(Pupil(), guardrails={"calm": wg.Guardrail(calm, 0)}), tmp_path)

    for form in (rendered(markdown), page):
        assert ["calm", "no", "6", "", "", ""] in cells(form)


def sealed_words() -> set[str]:
    """The validation rows that a preflight does not ask about: what it may see, the search may."""
    engine = Pupil()
    trainer(engine).preflight(TRAIN, VALIDATION)
    return {row["word"] for row in VALIDATION} - {each.prompt for each in engine.history}


def test_a_guardrail_that_cannot_judge_says_so(tmp_path: Path) -> None:
    """What it could judge under the start only is why it was not kept."""

    def readable(output: str, target: str) -> tuple[bool | None, str]:
        return (None if output.isupper() else True), ""

    markdown, page = saved(trained(Pupil(), guardrails={"readable": wg.Guardrail(readable, 0.5)}), tmp_path)

    for form in (rendered(markdown), page):
        (found,) = (row for row in cells(form) if row[0] == "readable")
        assert found[1] == "no: 6 rows not judged"


@pytest.mark.parametrize("less_is_better", [False, True])
def test_reports_say_what_the_sealed_rows_prove(tmp_path: Path, less_is_better: bool) -> None:
    """Where no row passes, none gets worse: six rows prove a large gain, whichever end of the scale is good."""

    def wrong(output: str, target: str) -> float:
        return float(output != target)

    metric = wg.MetricLoss(wrong, higher_is_better=False) if less_is_better else same
    reports = saved(trained(Pupil(), metric), tmp_path)

    for text in reports:
        assert "6 sealed rows prove a gain from 86 points on four times in five, where 0% of them get worse" in text
        assert "smaller gains too" not in text


def test_a_mean_of_nothing_wrong_is_zero(tmp_path: Path) -> None:
    """Where less is better, the best mean has no sign."""

    def wrong(output: str, target: str) -> float:
        return float(output != target)

    reports = saved(trained(Pupil(), wg.MetricLoss(wrong, higher_is_better=False)), tmp_path)

    for text in reports:
        assert "-0.0%" not in text
        assert " 0.0%" in text


def test_graded_scores_prove_smaller_gains_too(tmp_path: Path) -> None:
    """What is said of them is of rows that pass or fail."""

    def graded(output: str, target: str) -> float:
        return 0.9 if output == target else 0.3

    for text in saved(trained(Pupil(), graded), tmp_path):
        assert "6 sealed rows prove no gain of any size four times in five, where 5% of them get worse; where" in text
        assert "scores differ by less than 1, smaller gains too" in text


def test_scores_that_are_no_shares_have_no_points(tmp_path: Path) -> None:
    """What rows prove is in points of a hundred: on another scale nothing is said."""

    def errors(output: str, target: str) -> float:
        return 1.0 if output == target else 5.0

    metric = wg.MetricLoss(errors, bounds=(1.0, 5.0), higher_is_better=False)
    reports = saved(trained(Pupil(), metric), tmp_path)

    assert not any(re.search(r"four times in five|\d points", each) for each in reports)


@pytest.mark.parametrize("calls", [None, 35])
def test_reports_say_why_nothing_was_decided(tmp_path: Path, calls: int | None) -> None:
    """Nothing led, or the budget had no room: both say what the result says."""
    budget = None if calls is None else wg.Budget(calls=calls)
    result = trained(Pupil({"value": START}), budget=budget)
    reports = saved(result, tmp_path)

    assert result.decision is None
    for text in reports:
        assert str(result) in text
        assert "sealed validation" not in text


def exported(project: Project) -> list[str]:
    """The newest run as Markdown and as a page."""
    run = project.json("runs", "list")[0]["run"]
    return [project.run("runs", "export", run, "--format", form)[1] for form in ("md", "html")]


def test_a_run_that_has_not_ended_says_so(project: Project) -> None:
    """Both reports have what there is of it."""
    project.engine(Interrupted())
    project.run("optimize", project.config)

    for out in exported(project):
        assert "The run has not ended: it is failed" in out
        assert "backward" in out


class Interrupted(Pupil):
    """Fails where a text is to be rewritten."""

    def said(self, request: Request) -> Any:
        """The reply to one request."""
        down = wg.EngineError("down", retryable=False, status=500)
        return down if request.purpose == "optimize" else super().said(request)


def test_a_command_that_trains_nothing_decides_nothing(project: Project) -> None:
    """Its reports have the score and what it took."""
    project.run("eval", project.config)

    for out in exported(project):
        assert "0.0%" in out
        assert "What it took" in out
        assert not re.search("start is kept|not ended|sealed", out)


# ---- texts are data


class Hostile(Pupil):
    """Rewrites and criticises with markup, and is named so."""

    def __init__(self) -> None:
        super().__init__({"value": f"CAPITALS {HOSTILE}"}, name=HOSTILE)

    def said(self, request: Request) -> Any:
        """The reply to one request."""
        return verdicts(request, P1=HOSTILE) if request.purpose == "backward" else super().said(request)


def test_names_and_texts_are_no_markup(tmp_path: Path) -> None:
    """Those of a variable, a guardrail, a model and a kind of row are read as they are, and do nothing."""

    def tagged(output: str, target: str) -> wg.Score:
        return wg.Score(float(output == target), tags={HOSTILE: HOSTILE})

    guardrails = {HOSTILE: wg.Guardrail(lambda output, target: True, 0)}
    markdown, page = saved(trained(Hostile(), tagged, name=HOSTILE, guardrails=guardrails), tmp_path)
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inline = [each for token in tokens for each in (token, *(token.children or ()))]
    drawings = [file.read_text("utf-8") for file in tmp_path.glob("*.svg")]

    assert not {each.type for each in inline} & {"link_open", "html_inline", "html_block", "code_inline", "em_open"}
    assert [each.attrGet("src") for each in inline if each.type == "image"] == [
        *("score.svg", "lengths.svg", "spending.svg")
    ]
    assert [each for each in cells(rendered(markdown)) if len(each) not in (6, 7)] == []
    assert not re.search(r"://|www\.", re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown, flags=re.DOTALL | re.MULTILINE))
    for text in (markdown, page, *drawings):
        assert not {"\x1b", "\ufffe"} & set(text)
    for text in (page, *drawings):
        assert "<img" not in text
    assert [ET.fromstring(each).tag for each in drawings] == [f"{SVG}svg"] * 3
