"""Rows from files, with the place that each came from."""

from __future__ import annotations

import csv
import datetime as dt
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wordgrad.data.rows import Row, read
from wordgrad.errors import UsageError


def written(folder: Path, name: str, content: str | bytes) -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def found(path: Path) -> list[tuple[dict[str, object], str]]:
    """The columns and the place of each row."""
    return [(dict(row.columns), row.place) for row in read(path)]


def test_jsonl_rows_have_their_lines(tmp_path: Path) -> None:
    """One object a line, of any JSON; empty lines are skipped and counted."""
    path = written(tmp_path, "a.jsonl", '{"q": "x", "n": [1, null]}\n\n  \n{"q": "y"}')

    assert found(path) == [({"q": "x", "n": [1, None]}, "a.jsonl:1"), ({"q": "y"}, "a.jsonl:4")]


def test_csv_rows_have_their_first_lines(tmp_path: Path) -> None:
    """A quoted cell may hold newlines, commas and quotes; a row's place is the line that it begins on."""
    path = written(tmp_path, "a.csv", 'q,a\r\n"one\r\ntwo, ""three""",x\r\n\r\nfour,\r\n')

    assert found(path) == [
        ({"q": 'one\ntwo, "three"', "a": "x"}, "a.csv:2"),
        ({"q": "four", "a": ""}, "a.csv:5"),
    ]


def test_what_is_missing_in_jsonl_is_none(tmp_path: Path) -> None:
    """NaN, which Python writes and JSON has not, is None as in a table, in lists and objects too."""
    path = written(tmp_path, "a.jsonl", '{"q": NaN, "n": [1.5, NaN], "of": {"share": NaN}}\n')

    assert found(path) == [({"q": None, "n": [1.5, None], "of": {"share": None}}, "a.jsonl:1")]


@pytest.mark.parametrize("ending", ["x\n", ""])
def test_a_cell_may_hold_a_document(tmp_path: Path, ending: str) -> None:
    """Longer than Python's csv module reads by itself; its limit, which is the process's, is given back."""
    document, before = "word " * 40_000, csv.field_size_limit()
    path = written(tmp_path, "a.csv", f"q,a\n{document},{ending}")

    assert found(path) == [({"q": document, "a": ending.strip()}, "a.csv:2")]
    assert csv.field_size_limit() == before


def test_a_broken_csv_file_gives_the_limit_back(tmp_path: Path) -> None:
    """Nothing that is read afterwards is read otherwise."""
    before = csv.field_size_limit()

    with pytest.raises(UsageError, match=r"a\.csv:2: unexpected end of data"):
        read(written(tmp_path, "a.csv", 'q\n"' + "x" * 200_000))
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    """Files that Windows programs saved read as any other."""
    content = '\ufeff{"q": "x"}\n' if name == "a.jsonl" else "\ufeffq\nx\n"

    assert [columns for columns, _ in found(written(tmp_path, name, content))] == [{"q": "x"}]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85"])
def test_line_separators_in_json_are_text(tmp_path: Path, sign: str) -> None:
    """What Python splits lines at, and JSON allows in a string, does not end a row."""
    path = written(tmp_path, "a.jsonl", f'{{"q": "one{sign}two"}}\n')

    assert found(path) == [({"q": f"one{sign}two"}, "a.jsonl:1")]


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_line_separators_in_csv_are_text(tmp_path: Path, sign: str) -> None:
    """The same in a cell of a csv file, quoted or not."""
    path = written(tmp_path, "a.csv", f"q,a\none{sign}two,x\n")

    assert found(path) == [({"q": f"one{sign}two", "a": "x"}, "a.csv:2")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"q": 1}\n{"q": \n', r"a\.jsonl:2: no JSON: Expecting value at column 7"),
        ("a.jsonl", '{"q": 1}\n[1]\n', r"a\.jsonl:2: a row is a JSON object, not list"),
        ("a.jsonl", '{"q": 1}\n{"q": ' + "[" * 99_999 + "]" * 99_999 + "}", r"a\.jsonl:2: .* it is nested too deep"),
        ("a.jsonl", '{"q": 1}\n{"q": ' + "7" * 5_000 + "}", r"a\.jsonl:2: the row cannot be read: .* 5000 digits"),
        ("a.jsonl", '{"q": 1}\n{"q": Infinity}\n', r"a\.jsonl:2: column 'q' holds inf, which has no JSON form"),
        ("a.jsonl", '{"q": [-1e999]}\n', r"a\.jsonl:1: column 'q' holds -inf, which has no JSON form"),
        ("a.jsonl", "\n\n", r"a\.jsonl: the file has no rows"),
        ("a.csv", "", r"a\.csv: the file has no rows"),
        ("a.csv", "q,a\n", r"a\.csv: the file has no rows"),
        ("a.csv", "q,a\nx,y\nx\n", r"a\.csv:3: the row has 1 columns, the first line 2"),
        ("a.csv", "q,a\nx,y,z\n", r"a\.csv:2: the row has 3 columns, the first line 2"),
        ("a.csv", "q,q\nx,y\n", r"a\.csv:1: two columns have the same name"),
        ("a.csv", 'q,a\nx,"y\n', r"a\.csv:2: unexpected end of data"),
        ("a.jsonl", b'{"q": "\xff"}\n', r"a\.jsonl is no UTF-8 text"),
        ("a.txt", "q\n", r"a\.txt: rows are read from \.jsonl, \.csv and \.parquet files"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    """What cannot be read is never left out in silence."""
    path = written(tmp_path, name, content)

    with pytest.raises(UsageError, match=words):
        read(path)


def test_parquet_rows_are_json(tmp_path: Path) -> None:
    """Numbers, lists and records stay; dates and times have their ISO forms; what is missing is None."""
    table = pa.table(
        {
            "q": ["x", None],
            "n": [1.5, float("nan")],
            "day": [dt.date(2026, 11, 25), None],
            "at": [dt.datetime(2026, 11, 25, 9, 30, tzinfo=dt.UTC), None],
            "tags": [["a"], []],
            "who": [{"name": "b"}, None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")

    assert found(tmp_path / "a.parquet") == [
        (
            {
                "q": "x",
                "n": 1.5,
                "day": "2026-11-25",
                "at": "2026-11-25T09:30:00+00:00",
                "tags": ["a"],
                "who": {"name": "b"},
            },
            "a.parquet:1",
        ),
        (dict.fromkeys(["q", "n", "day", "at", "who"]) | {"tags": []}, "a.parquet:2"),
    ]


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(UsageError, match=r"a\.parquet cannot be read: .*Parquet"):
        read(written(tmp_path, "a.parquet", "q,a\n" * 9))
    with pytest.raises(UsageError, match=r"b\.parquet cannot be read: .*b\.parquet"):
        read(tmp_path / "b.parquet")


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install reads no parquet."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)

    with pytest.raises(UsageError, match=r"pip install 'wordgrad\[parquet\]'"):
        read(written(tmp_path, "a.parquet", ""))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error has the path as it was looked for."""
    with pytest.raises(UsageError, match=r"none\.csv cannot be read: No such file"):
        read(tmp_path / "none.csv")


def test_a_missing_column_names_those_that_are_there() -> None:
    """The message is enough to mend the configuration."""
    with pytest.raises(UsageError, match=r"a\.csv:2: no column 'query'; the row has 'q', 'a'"):
        Row({"q": "x", "a": "y"}, "a.csv:2")["query"]
