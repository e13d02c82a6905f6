"""The TOML file of a run: what it may say, and how it is told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import wordgrad as wg
from project import Project, Pupil, project
from wordgrad.errors import UsageError
from wordgrad.train.config import Config, load, parse

__all__ = ["project"]

DATA = """
[data]
train = "a.jsonl"
validation = "b.jsonl"
test = "c.jsonl"
"""


def parsed(source: str) -> Config:
    """The configuration, from a file that need not be there."""
    return parse(source, Path("folder/run.toml"))


def test_paths_are_relative_to_the_file() -> None:
    """Data and prompt files are looked for beside the configuration."""
    config = parsed(f'[variables.p]\nrole = "r"\nfile = "p.txt"\n{DATA}')

    assert (config.data.train, config.variables["p"].file) == (Path("folder/a.jsonl"), Path("folder/p.txt"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (f"steps = 3\n{DATA}", "run.toml:1: steps: unknown key; known: program, engines, "),
        (
            f"# steps\n{DATA}\n[search]\nbatch = 2\nstep = 3\n",
            "run.toml:10: search.step: unknown key; did you mean steps[?]",
        ),
        (
            f"{DATA}\n[engines.forward]\nmax_tokens = 1\n[engines.backward]\nmax_tokens = 0\n",
            "run.toml:10: engines.back",
        ),
        (f'{DATA}\n[variables.p]\nrole = "r"\n', "run.toml:7: variables.p: give either text or file"),
        (f'{DATA}\n[variables.p]\nrole = ""\ntext = "t"\n', "run.toml:8: variables.p.role: "),
        (f'note = """\n[search]\nsteps = 0\n"""\n{DATA}\n[search]\nsteps = 0\n', "run.toml:1: note: unknown key"),
        (
            f'{DATA}\n# steps = 0\n[metric]\nobjective = """\nsteps = 0\n"""\n[search]\nsteps = 0\n',
            "run.toml:13: search.st",
        ),
        (DATA.replace("[data]", "[dat]"), "run.toml:2: dat: unknown key; did you mean data[?]"),
        (f'{DATA}\n[variables.role]\nrol = "r"\n', "run.toml:8: variables.role.rol: unknown key; did you mean role[?]"),
        (f"{DATA}\n[search]\nrace = 4\n", "run.toml:8: search.race: unknown key; known: steps, batch, candidates, "),
        (f'{DATA}\n[accept]\nrule = "loose"\n', "run.toml:8: accept.rule: Input should be 'strict' or 'lenient'"),
        (f"{DATA}\n[accept]\nalpha = 0\n", "run.toml:8: accept.alpha: Input should be greater than 0"),
        (f"{DATA}\n[accept]\nmargin = 1\n", "run.toml:8: accept.margin: Input should be less than 1"),
        (f'{DATA}\n[accept]\nrules = "strict"\n', "run.toml:8: accept.rules: unknown key; did you mean rule[?]"),
        (f"{DATA}\n[guardrails.brief]\nmargin = 1\n", "run.toml:8: guardrails.brief.margin: Input should be less than"),
        (f"{DATA}\n[guardrails.brief]\nmargin = -1\n", "run.toml:8: guardrails.brief.margin: Input should be greater"),
        (
            f"{DATA}\n[guardrails.brief]\nmargin = 0\nmarg = 1\n",
            "run.toml:9: guardrails.brief.marg: unknown key; did you mean margin[?]",
        ),
        (f"{DATA}\n[engines.forward.price]\ninput = 1\n", "engines.forward.price.input: .*did you mean input_usd[?]"),
        ('[data]\ntrain = "a"\n', "run.toml:1: data: name the file of the validation rows"),
        ('data = {train = "a",\n', "run.toml: no TOML: .*line 1"),
        ("", "run.toml:1: data: Field required"),
        ("a = \n", "run.toml: no TOML: .*line 1"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_key(source: str, words: str) -> None:
    """The line is the one on which the key itself stands, whatever comments and texts look like it."""
    with pytest.raises(UsageError, match=words):
        parsed(source)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ('kind = "function"', 'kind = "function" needs function'),
        ('kind = "rubric"', r'run.toml:\d+: metric: kind = "rubric" needs rubric'),
        ('rubric = "Is it good?"', 'kind = "exact" takes no rubric'),
        ("passing = 0.5", 'kind = "exact" takes no passing'),
        ('kind = "rubric"\nrubric = "r"\nobjective = "o"', 'kind = "rubric" takes no objective'),
        ('kind = "function"\nfunction = "a:b"\npassing = 2.0', "metric.passing: .*less than or equal to 1"),
        ('kind = "other"', "metric.kind: "),
        ('[metric.judge]\nengine = "gpt-4o"', 'kind = "exact" takes no judge'),
        ('kind = "rubric"\nrubric = "r"\n[metric.judge]\nmax_tokens = 9', "metric.judge.engine: Field required"),
    ],
)
def test_a_metric_has_what_its_kind_needs(metric: str, words: str) -> None:
    """A key that would be left out in silence is refused, as one that is missing."""
    with pytest.raises(UsageError, match=words):
        parsed(f"{DATA}\n[metric]\n{metric}\n")


@pytest.mark.parametrize(
    ("guardrail", "words"),
    [
        ('kind = "exact"', r"run.toml:7: guardrails.brief.margin: Field required"),
        ('kind = "function"\nmargin = 0', r'run.toml:7: guardrails.brief: kind = "function" needs function'),
        ('kind = "rubric"\nmargin = 0.1', r'run.toml:7: guardrails.brief: kind = "rubric" needs rubric'),
        ("passing = 0.5\nmargin = 0.1", 'guardrails.brief: kind = "exact" takes no passing'),
        ('margin = 0\n[[guardrails.brief.known]]\noutput = "x"\npasses = true', "guardrails.brief.known: unknown key"),
    ],
)
def test_a_guardrail_has_what_its_kind_needs_and_a_margin(guardrail: str, words: str) -> None:
    """It is told as a metric is; how much of it may be lost is never a guess."""
    with pytest.raises(UsageError, match=words):
        parsed(f"{DATA}\n[guardrails.brief]\n{guardrail}\n")


def test_a_configuration_says_what_must_be_shown() -> None:
    """Strict, one false claim in twenty and two points are what is meant where nothing is said."""
    silent, said = parsed(DATA).accept, parsed(f'{DATA}\n[accept]\nrule = "lenient"\nalpha = 0.1\nmargin = 0\n').accept

    assert (silent.rule, silent.alpha, silent.margin) == ("strict", 0.05, 0.02)
    assert (said.rule, said.alpha, said.margin) == ("lenient", 0.1, 0)


def test_another_rule_changes_nothing_else() -> None:
    """What the command line says of the rule leaves the file's alpha, and where the file stands, as they are."""
    source = f"{DATA}\n[accept]\nalpha = 0.1\n"
    config = parse(source, Path("folder/run.toml"), {"accept.rule": "lenient"})

    assert (config.accept.rule, config.accept.alpha) == ("lenient", 0.1)
    assert config.at("accept", "alpha") == "folder/run.toml:8: accept.alpha"


def test_test_rows_may_be_left_out() -> None:
    """The sealed rows decide; the test rows are for the report alone."""
    assert parsed(DATA.replace('test = "c.jsonl"\n', "")).data.test is None


def test_eval_needs_test_rows(project: Project) -> None:
    """The one command that has nothing else to score says which key is missing."""
    project.change('test = "test.jsonl"\n', "")

    code, _, err = project.run("eval", project.config)

    assert (code, "wordgrad.toml:17: data: eval scores on test rows: name their file as test" in err) == (2, True)


def test_a_program_of_the_users_own_has_its_own_engine() -> None:
    """The table of an engine that nobody would ask is refused."""
    with pytest.raises(UsageError, match=r"run.toml:8: engines.forward: a program of your own brings the engine"):
        parsed(f'program = "a:b"\n{DATA}\n[engines.forward]\nengine = "local"\n')


def test_a_file_of_another_encoding_is_named(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error with the path, and a byte order mark is none."""
    path = tmp_path / "run.toml"
    path.write_bytes(b'\xef\xbb\xbf[data]\ntrain = "a"\nvalidation = "b"\ntest = "c"\n')
    assert load(path).data.train == tmp_path / "a"
    path.write_bytes(b"# \xff\n")

    with pytest.raises(UsageError, match=r"run.toml is no UTF-8 text"):
        load(path)


@pytest.mark.parametrize("command", ["optimize", "estimate", "eval"])
def test_a_missing_configuration_is_named(project: Project, command: str) -> None:
    """Every command says which file it cannot read."""
    code, _, err = project.run(command, project.folder / "none.toml")

    assert (code, "none.toml cannot be read: No such file" in err) == (2, True)


def test_an_engine_that_cannot_be_made_is_named_with_its_line(project: Project) -> None:
    """A spec that names none is told with file, line and key."""
    project.monkeypatch.setattr("wordgrad.cli.optimize.get_engine", wg.get_engine)

    code, _, err = project.run("optimize", project.config)

    assert (code, "wordgrad.toml:2: engines.forward.engine: the engine 'fake' needs a key: set OPENAI" in err) == (
        2,
        True,
    )


@pytest.mark.parametrize("table", ["forward", "backward", "optimizer"])
def test_what_an_engine_does_not_take_is_said_before_it_is_asked(project: Project, table: str) -> None:
    """A temperature for a model without one is a mistake in the file: nobody is asked anything before it is told."""
    engine = Pupil(capabilities=wg.Capabilities(schema=True, temperature=False))
    project.engine(engine)
    project.change(f"[engines.{table}]\n", f"[engines.{table}]\ntemperature = 0.5\n")
    line = {"forward": 2, "backward": 6, "optimizer": 10}[table]

    code, _, err = project.run("optimize", project.config)

    assert (code, engine.history) == (2, ())
    assert f"wordgrad.toml:{line}: engines.{table}.temperature: the engine 'fake' takes no temperature" in err


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("train.jsonl", None, "wordgrad.toml:18: data.train: {folder}/train.jsonl cannot be read: No such file"),
        ("test.jsonl", "\n", "wordgrad.toml:20: data.test: {folder}/test.jsonl: the file has no rows"),
        ("prompt.txt", None, "wordgrad.toml:15: variables.prompt.file: {folder}/prompt.txt cannot be read: No such"),
        (
            "validation.jsonl",
            '{"word": "a"}\n',
            "wordgrad.toml:22: data.target: validation.jsonl:1: no column 'shout'; the row has 'word'",
        ),
        (
            "validation.jsonl",
            '{"words": "a"}\n',
            "wordgrad.toml:21: data.input: validation.jsonl:1: no column 'word'; the row has 'words'",
        ),
        (
            "test.jsonl",
            '{"word": "x", "shout": "X"}\n{"word": "train3", "shout": "?"}\n',
            "wordgrad.toml:17: data: test.jsonl:2 (test) repeats train.jsonl:4 (train): the same 'word'",
        ),
    ],
)
@pytest.mark.parametrize("command", ["optimize", "estimate", "eval"])
def test_what_is_wrong_in_a_file_is_named_with_line_and_key(
    project: Project, monkeypatch: pytest.MonkeyPatch, command: str, file: str, content: str | None, words: str
) -> None:
    """The message has the configuration's line and key and the data file's own line; nothing is paid or downloaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder))
    project.change('engine = "fake"', 'engine = "local"')
    path = project.folder / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")

    code, out, err = project.run(command, project.config)

    assert (code, out, project.store.exists()) == (2, "", False)
    assert f"{project.folder}/{words.format(folder=project.folder)}" in err
