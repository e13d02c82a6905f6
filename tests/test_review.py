"""`wordgrad review`: a person's word on pairs of answers, blind, and what it does to the metric's."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

import wordgrad as wg
from project import BETTER, START, Project, Pupil, project
from stored import rows
from wordgrad.train.review import AUDIT, Disagreement, Preference, Review, in_blind_order, reviewed

__all__ = ["project"]

LABELS = "SELECT json_extract(body, '$.row'), json_extract(body, '$.preferred') FROM events WHERE kind = 'label'"


def pairs(*metric: int) -> list[Disagreement]:
    """Rows on which the texts differ, and what the metric says of each."""
    return [
        Disagreement(row=f"row {number}", case=number, asked="?", start="old", found="new", metric=sign)
        for number, sign in enumerate(metric)
    ]


def labelled(metric: Sequence[int], *preferred: Preference) -> Review:
    """The review of as many rows as there are labels."""
    return reviewed(pairs(*metric), {f"row {n}": each for n, each in enumerate(preferred)}, alpha=0.05)


def reviewing(project: Project, monkeypatch: pytest.MonkeyPatch, given: str, *options: object) -> tuple[str, str]:
    """`wordgrad review` of the newest run, with one answer a letter; what it prints, and the run's id."""
    run = project.json("runs", "list")[0]["run"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(given) + "\n"))
    code, out, err = project.run("review", run, *options)
    assert code == 0, err
    return out, run


def answers(out: str) -> list[tuple[str, str]]:
    """The answers of each pair that was shown, in order."""
    lines = out.splitlines()
    return [(one[3:], two[3:]) for one, two in itertools.pairwise(lines) if one[:3] == "1: "]


# ---- what labels say


def test_labels_are_a_test_of_their_own() -> None:
    """Seven preferences of seven prove, six of six do not: whoever labels sees what the labels say."""
    seven, six = (labelled([0] * n, *["found"] * n) for n in (7, 6))

    assert (seven.proved, six.proved, labelled([]).p) == (True, False, 1.0)
    assert seven.p == pytest.approx(8 / 2**8 / (1 - 1 / 2**8))
    assert seven.words == (
        "7 labels: the new text preferred on 7, the start on 0; the metric agreed on 0 and was wrong on 0. The new text "
        "is better: were it not, chance would do as well once in 32 runs"
    )
    assert six.words.endswith("This proves nothing yet")


def test_looking_after_each_label_proves_no_equal_text() -> None:
    """Of a thousand reviews of equal texts, looked at after each of a hundred labels, fewer than 5 % ever prove."""
    rng, proved = random.Random(0), 0
    for _ in range(1_000):
        wins = 0
        for n in range(1, 101):
            wins += rng.random() < 0.5
            if Review(better=wins, worse=n - wins, same=0, agreed=0, opposed=0, alpha=0.05).proved:
                proved += 1
                break

    assert 0 < proved < 50


@pytest.mark.parametrize(
    ("metric", "preferred", "blocked"),
    [
        ([1] * 20, ["start"] * 20, True),
        ([1] * 20, ["found"] * 20, False),
        ([1] * 19, ["start"] * 19, False),
        ([1] * 20, ["found"] * 9 + ["same"] * 11, True),
        ([1] * 20, ["found"] * 11 + ["same"] * 9, False),
        ([0] * 20, ["same"] * 20, True),
    ],
)
def test_twenty_labels_overrule_the_metric(metric: list[int], preferred: list[Preference], blocked: bool) -> None:
    """Where the new text is not preferred, or the metric is wrong as often as right; fewer labels are too few."""
    found = labelled(metric, *preferred)

    assert (found.blocked, found.labels >= AUDIT) == (blocked, len(preferred) >= 20)
    assert ("wrong where it matters" in found.words) == blocked


def test_agreement_is_counted_by_row() -> None:
    """The metric is right where it prefers what the person does, wrong where it prefers anything else."""
    found = labelled([1, 1, 1, -1, 0, 0], "found", "start", "same", "start", "found", "same")

    assert (found.agreed, found.opposed) == (2, 2)
    assert (found.better, found.worse, found.same) == (2, 2, 2)


def test_pairs_are_shown_blind() -> None:
    """The order of rows and of answers is drawn, both ways come up, and a seed gives the same again."""
    order = in_blind_order(pairs(*[1] * 40), seed="run")

    assert order == in_blind_order(pairs(*[1] * 40), seed="run") != in_blind_order(pairs(*[1] * 40), seed="other")
    assert [pair.row for pair, _ in order] != [pair.row for pair in pairs(*[1] * 40)]
    assert 10 < sum(swapped for _, swapped in order) < 30


def test_one_row_of_each_case_is_shown() -> None:
    """Rows of one customer say the same again; the labels' test would count each as news."""
    rows_ = [replace(each, case=number // 4) for number, each in enumerate(pairs(*[1] * 40))]
    order = in_blind_order(rows_, seed="run")

    assert sorted(pair.case for pair, _ in order) == list(range(10))
    assert [pair.case for pair, _ in order] != list(range(10))


@pytest.mark.parametrize(("better", "worse"), [(0, 53), (1, 57), (3, 67), (0, 400)])
def test_labels_that_are_clearly_for_the_start_prove_nothing(better: int, worse: int) -> None:
    """However many there are."""
    found = labelled([0] * (better + worse), *["found"] * better, *["start"] * worse)

    assert (found.p, found.proved) == (1.0, False)


# ---- the command


@pytest.fixture
def undecided(project: Project) -> Project:
    """A job whose new text shouts, and whose metric cannot see that: the start was kept."""
    (project.folder / "own_blind.py").write_text("def blind(output, target):\n    return float('7' in output)\n")
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_blind:blind"\n\n[search]')
    project.rows("validation", [f"held{number}" for number in range(24)])
    project.change("[search]", '[accept]\nrule = "lenient"\n\n[search]')

    class Sevens(Pupil):
        """The new text writes a seven where the word has a one."""

        def said(self, request: object) -> object:  # type: ignore[override]
            said = super().said(request)  # type: ignore[arg-type]
            return said.replace("1", "7") if isinstance(said, str) and said.isupper() else said

    project.engine(Sevens())
    assert project.json("optimize", project.config)["decision"]["rule"] == "lenient"
    return project


def test_a_person_decides(undecided: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever prefers the shouting answer each time proves the new text, and --write puts it into its file."""
    skipped, _ = reviewing(undecided, monkeypatch, "s" * 12)
    loud_first = [first.isupper() for first, _ in answers(skipped)]
    out, _ = reviewing(undecided, monkeypatch, "".join("1" if loud else "2" for loud in loud_first), "--write")

    assert len(loud_first) == 12
    assert 0 < sum(loud_first) < 12
    assert "12 labels: the new text preferred on 12, the start on 0" in out
    assert undecided.prompt.read_text("utf-8") == BETTER + "\n"


def test_labels_are_kept_as_they_are_given(undecided: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skipped pair comes again, an answer that is none is asked for again, and an ended input ends the review."""
    out, _ = reviewing(undecided, monkeypatch, "x=s")
    again, _ = reviewing(undecided, monkeypatch, "q")

    assert "write 1, 2, =, s or q" in out
    assert [f"{number} of 12" in out for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert [preferred for _, preferred in rows(undecided.store, LABELS)] == ["same"]
    assert answers(again) == answers(out)[1:2]


def test_a_review_in_json(undecided: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """For scripts: what the labels say; the pairs go to stderr."""
    out, run = reviewing(undecided, monkeypatch, "==q", "--json")
    found = json.loads(out)

    assert found["run"] == run
    assert {name: found[name] for name in ("pairs", "labels", "same", "better", "p", "proved", "blocked")} == {
        "pairs": 12,
        "labels": 2,
        "same": 2,
        "better": 0,
        "p": 1.0,
        "proved": False,
        "blocked": False,
    }


def test_nothing_is_written_that_labels_do_not_prove(undecided: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --write and too few labels the file stays."""
    out, _ = reviewing(undecided, monkeypatch, "q", "--write")

    assert "nothing was written: the labels do not decide for the new text" in out
    assert undecided.prompt.read_text("utf-8") == START + "\n"


def test_answers_are_data(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Markup and control characters of a model's answer are shown, not obeyed."""

    class Hostile(Pupil):
        """Shouts with markup."""

        def said(self, request: object) -> object:  # type: ignore[override]
            said = super().said(request)  # type: ignore[arg-type]
            return f"[red]{said}\x1b[2J" if isinstance(said, str) and said.isupper() else said

    project.change("[search]", '[accept]\nrule = "lenient"\n\n[search]')
    (project.folder / "own_loud.py").write_text("def loud(output, target):\n    return float(target in output)\n")
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_loud:loud"\n\n[search]')
    project.engine(Hostile())
    project.json("optimize", project.config)
    out, _ = reviewing(project, monkeypatch, "q")

    assert "[red]HELD" in out
    assert "\x1b" not in out


def test_a_run_without_pairs_says_so(project: Project) -> None:
    """No text met the sealed rows."""
    project.engine(Pupil({"value": "Say it slowly."}))
    run = project.json("optimize", project.config)["run"]
    code, _, err = project.run("review", run)

    assert code == 2
    assert f"run {run} has nothing to review: no text of it has met the sealed rows (it is done)" in err


def test_a_training_run_can_be_reviewed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a `Trainer` kept in the store is reviewed as any run; a file to write to it has none."""
    engine = Pupil()
    prompt = wg.Variable(START, "system prompt", requires_grad=True)
    training = wg.Trainer(
        lambda variables, row: wg.llm_call(variables["prompt"], row["word"], engine=engine),
        lambda output, target: output == target,
        variables={"prompt": prompt},
        input="word",
        target="shout",
        plan=wg.Plan(steps=1, batch=4, candidates=1, critic=engine),
    )
    parts = [[{"word": f"{name}{n}", "shout": f"{name}{n}".upper()} for n in range(12)] for name in ("a", "b")]
    run = training.fit(*parts, store=project.store).run
    out, _ = reviewing(project, monkeypatch, "q", "--json")
    code, _, err = project.run("review", run, "--write")

    assert json.loads(out)["pairs"] == 6
    assert (code, "is none of `wordgrad optimize`" in err) == (2, True)
