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
from wordgrad.store.database import Database
from wordgrad.store.runs import record
from wordgrad.testing import RuleEngine
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
    labels = {f"row {n}": each for n, each in enumerate(preferred)}
    return reviewed(pairs(*metric), labels, alpha=0.05, accepted=False)


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
            counts = {"better": wins, "worse": n - wins, "same": 0, "agreed": 0, "opposed": 0, "pairs": 100}
            if Review(**counts, alpha=0.05, accepted=False, broken=()).proved:
                proved += 1
                break

    assert 0 < proved < 50


@pytest.mark.parametrize(
    ("metric", "preferred", "blocked"),
    [
        ([1] * 20, ["start"] * 20, True),
        ([1] * 20, ["found"] * 20, False),
        ([1] * 19, ["start"] * 19, False),
        ([1] * 20, ["found"] * 8 + ["start"] * 3 + ["same"] * 9, True),
        ([1] * 20, ["found"] * 11 + ["start"] * 8 + ["same"], False),
        ([-1] * 20, ["found"] * 20, False),
        ([0] * 20, ["same"] * 20, True),
    ],
)
def test_twenty_labels_overrule_the_metric(metric: list[int], preferred: list[Preference], blocked: bool) -> None:
    """Where it is wrong as often as right, or the new text not preferred; not where they prove that text themselves."""
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


def test_too_few_rows_to_overrule_the_metric_are_said_to_be() -> None:
    """Where the metric took the new text, whoever labels is told that no label can undo it."""
    few, many = (reviewed(pairs(*[1] * n), {"row 0": "start"}, alpha=0.05, accepted=True) for n in (12, 20))

    assert few.words.endswith(
        ". This proves nothing yet. The texts differ on 12 rows of this run, and it takes 20 labels to overrule the metric"
    )
    assert many.words.endswith(". This proves nothing yet")
    assert replace(few, accepted=False).words.endswith(". This proves nothing yet")


def test_no_label_makes_up_for_a_broken_guardrail() -> None:
    """A text that is proved better and does not keep one is not the run's end."""
    labels: dict[str, Preference] = {f"row {n}": "found" for n in range(7)}
    kept, broken = (reviewed(pairs(*[0] * 7), labels, alpha=0.05, accepted=False, broken=x) for x in ([], ["short"]))

    assert (kept.decided, broken.decided) == ("found", None)
    assert broken.words == f"{kept.words}; but it does not keep short"


# ---- the command


@pytest.fixture
def undecided(project: Project) -> Project:
    """A job whose new text shouts, and whose metric hardly sees that: the start was kept."""
    (project.folder / "own_blind.py").write_text("def blind(output, target):\n    return float('7' in output)\n")
    project.change("[search]", '[metric]\nkind = "function"\nfunction = "own_blind:blind"\n\n[search]')
    project.rows("validation", [f"held{number}" for number in range(24)])

    class Sevens(Pupil):
        """The new text writes a seven where the word has a two: on too few rows to prove anything."""

        def said(self, request: object) -> object:  # type: ignore[override]
            said = super().said(request)  # type: ignore[arg-type]
            return said.replace("2", "7") if isinstance(said, str) and said.isupper() else said

    project.engine(Sevens())
    assert not project.json("optimize", project.config)["accepted"]
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

    assert "nothing was written: the labels decide for neither text" in out
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
    assert (code, f"take the texts with wordgrad runs export {run} --variable NAME" in err) == (2, True)


# ---- what a run ends with


def preferring(project: Project, monkeypatch: pytest.MonkeyPatch, answer: str, *options: object) -> tuple[str, str]:
    """Review the newest run as somebody who always prefers the loud answer, or the quiet one, or neither ("=")."""
    skipped, _ = reviewing(project, monkeypatch, "s" * 40)
    loud = ["1" if first.isupper() else "2" for first, _ in answers(skipped)]
    given = {"loud": loud, "quiet": [{"1": "2", "2": "1"}[each] for each in loud], "=": ["="] * len(loud)}[answer]
    return reviewing(project, monkeypatch, "".join(given), *options)


def exported(project: Project, run: str) -> str:
    """The text that `runs export` gives."""
    return project.run("runs", "export", run, "--variable", "prompt")[1].rstrip("\n")


@pytest.fixture
def accepted(project: Project) -> Project:
    """A job whose metric took the new text, on 30 sealed rows, and wrote it into its file."""
    project.rows("validation", [f"held{n}" for n in range(60)])
    assert project.json("optimize", project.config, "--write")["accepted"]
    assert project.prompt.read_text("utf-8") == BETTER + "\n"
    return project


def test_a_blocked_run_ends_with_its_start(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that says what a run found has the text that the labels decided for."""
    out, run = preferring(accepted, monkeypatch, "quiet")
    shown, listed = accepted.run("runs", "show", run)[1], accepted.run("runs", "list")[1]

    assert f"the run ends with the start's text: wordgrad runs export {run}" in out
    assert exported(accepted, run) == START
    assert accepted.json("runs", "diff", run) == [{"name": "prompt", "start": START, "end": START}]
    assert "30 labels: the new text preferred on 0, the start on 30" in shown
    assert shown.endswith(f"the new text is not to be used.\n\nprompt:\n{START}\n")
    assert ("labels" in listed, "the start" in listed) == (True, True)


def test_a_proved_text_is_the_runs_end(undecided: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the metric kept the start."""
    before = exported(undecided, undecided.json("runs", "list")[0]["run"])
    _, run = preferring(undecided, monkeypatch, "loud")

    assert (before, exported(undecided, run)) == (START, BETTER)
    assert undecided.run("runs", "show", run)[1].endswith(f"\nprompt:\n{BETTER}\n")
    assert "the new text" in undecided.run("runs", "list")[1]


def test_labels_in_json_stand_beside_the_metrics_decision(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """For scripts: list, show and export say what the labels decide; what the metric decided is still there."""
    before = accepted.json("runs", "list")[0]
    out, run = preferring(accepted, monkeypatch, "quiet", "--json")
    said = {name: value for name, value in json.loads(out).items() if name != "run"}
    listed, shown = accepted.json("runs", "list")[0], accepted.json("runs", "show", run)
    whole = json.loads(accepted.run("runs", "export", run, "--format", "json")[1])

    assert (before["review"], listed) == (None, {**before, "review": said})
    assert (said["decided"], said["blocked"], said["accepted"], said["pairs"]) == ("start", True, True, 30)
    assert [(each["review"], each["end"]) for each in (shown, whole)] == [(said, {"prompt": START})] * 2
    assert whole["versions"] == {"prompt": [START, BETTER]}


def test_labels_that_decide_nothing_leave_the_metrics_choice(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows that a person sees otherwise overrule no metric, and the review says so."""
    project.json("optimize", project.config, "--write")
    out, run = preferring(project, monkeypatch, "quiet", "--write")

    assert "The texts differ on 6 rows of this run, and it takes 20 labels to overrule the metric" in out
    assert "nothing was written" in out
    assert (exported(project, run), project.prompt.read_text("utf-8")) == (BETTER, BETTER + "\n")
    assert "undecided" in project.run("runs", "list")[1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_rejected_text_is_taken_out_of_its_file(accepted: Project, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """The start stands there again; a second review finds it there. Line endings are the file's own."""
    accepted.prompt.write_bytes(f"{BETTER}{end}".encode())
    out, _ = preferring(accepted, monkeypatch, "quiet", "--write")
    again, _ = reviewing(accepted, monkeypatch, "", "--write")

    assert f"wrote {accepted.prompt}: the start's text, in place of the new one" in out
    assert accepted.prompt.read_bytes().decode().rstrip("\r\n") == START
    assert accepted.prompt.read_bytes().endswith(b"\r\n") == (end == "\r\n")
    assert "the text that the labels decide for is there already" in again


def test_a_file_that_was_changed_since_is_left_alone(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds neither text of the run: whoever changed it decides."""
    _, run = preferring(accepted, monkeypatch, "quiet")
    accepted.prompt.write_text("Say it, please.\n", "utf-8")
    code, _, err = accepted.run("review", run, "--write")

    assert (code, f"{accepted.prompt} holds neither the start's text nor the new one of run {run}" in err) == (2, True)
    assert accepted.prompt.read_text("utf-8") == "Say it, please.\n"


@pytest.mark.parametrize(("job", "answer"), [("accepted", "quiet"), ("undecided", "loud")])
def test_a_reviewed_run_replays_and_resumes_as_the_same(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, job: str, answer: str
) -> None:
    """The metric's decision stays what it was, no call is made, and what the labels put into the file stays there."""
    project: Project = request.getfixturevalue(job)
    before = project.json("runs", "list")[0]["report"]
    _, run = preferring(project, monkeypatch, answer, "--write")
    written, ends = project.prompt.read_text("utf-8"), exported(project, run)
    project.engine(RuleEngine(lambda _: AssertionError("asked"), name="fake"))
    replayed, resumed = project.json("runs", "replay", run), project.run("runs", "resume", run)

    assert (replayed["same"], resumed[0]) == (True, 0)
    assert " labels: the new text preferred on " in resumed[1]
    assert {**project.json("runs", "list")[0]["report"], "seconds": 0} == {**before, "seconds": 0}
    assert (project.prompt.read_text("utf-8"), exported(project, run)) == (written, ends) == (f"{ends}\n", ends)


def test_a_review_that_was_interrupted_counts(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty labels and Ctrl-C: what was given is what the run has."""
    skipped, run = reviewing(accepted, monkeypatch, "s" * 30)
    quiet = ["2" if first.isupper() else "1" for first, _ in answers(skipped)]
    given = iter(quiet[:20])

    def typed(*_: object) -> str:
        try:
            return next(given)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("rich.console.Console.input", typed)
    code, _, _ = accepted.run("review", run)

    assert code != 0
    assert exported(accepted, run) == START


def test_a_record_has_the_labels_word(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes a report has what the labels said, and the texts to use."""
    _, run = preferring(accepted, monkeypatch, "quiet")
    with Database(accepted.store) as database:
        found = record(database, run)

    assert found.review is not None
    assert (found.review.decided, found.review.labels) == ("start", 30)
    assert (found.end, found.versions) == ({"prompt": START}, {"prompt": [START, BETTER]})


def test_a_trainers_run_ends_with_the_text_that_labels_prove(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no file, so `runs export` is how to take it; resumed, it leaves that text in the variable."""
    engine = Pupil()
    prompt = wg.Variable(START, "system prompt", requires_grad=True)
    training = wg.Trainer(
        lambda variables, row: wg.llm_call(variables["prompt"], row["word"], engine=engine),
        lambda output, target: output == target and "2" in output,
        variables={"prompt": prompt},
        input="word",
        target="shout",
        plan=wg.Plan(steps=1, batch=4, candidates=1, critic=engine),
    )
    parts = [[{"word": f"{name}{n}", "shout": f"{name}{n}".upper()} for n in range(24)] for name in ("a", "b")]
    first = training.fit(*parts, store=project.store)
    preferring(project, monkeypatch, "loud")
    ends = exported(project, first.run)
    again = training.fit(*parts, store=project.store, resume=first.run)

    assert (first.values, ends) == ({"prompt": START}, BETTER)
    assert (again.values, prompt.value, again.decision) == ({"prompt": BETTER}, BETTER, first.decision)
    assert again.record.review is not None
    assert again.record.review.decided == "found"


def test_reports_say_what_labels_decided(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have the labels' words beside the metric's, and end with the text that the labels are for."""
    _, run = preferring(accepted, monkeypatch, "quiet")
    in_markdown, in_html = (accepted.run("runs", "export", run, "--format", form)[1] for form in ("md", "html"))

    for text in (in_markdown, in_html):
        assert "the new text is better (30 sealed validation rows" in text
        assert "The metric is wrong where it matters: the new text is not to be used" in text
    assert f"## prompt: end\n\n```text\n{START}\n```" in in_markdown
    assert f"<h2>prompt: from start to end</h2><pre>{START}</pre>" in in_html
