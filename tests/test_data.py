"""Examples from whatever holds them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pytest

import wordgrad as wg

DAY = dt.datetime(2026, 11, 25, 9, 30)  # noqa: DTZ001 - frames hold such
COLUMNS = {"q": ["x", "y"], "n": [1, 2], "share": [0.5, None], "at": [DAY, None]}
ROWS = [
    ({"q": "x", "n": 1, "share": 0.5, "at": "2026-11-25T09:30:00"}, "example 1"),
    ({"q": "y", "n": 2, "share": None, "at": None}, "example 2"),
]


def found(source: object) -> list[tuple[dict[str, object], str]]:
    """The columns and the place of each example."""
    return [(dict(row.columns), row.place) for row in wg.examples(source)]


@pytest.mark.parametrize(
    "source",
    [
        pd.DataFrame(COLUMNS),
        pl.DataFrame(COLUMNS),
        datasets.Dataset.from_dict(COLUMNS),
        [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)],
    ],
    ids=["pandas", "polars", "datasets", "list"],
)
def test_every_table_gives_the_same_examples(source: object) -> None:
    """What is missing is None, a time its ISO form; a place is the example's number."""
    assert found(source) == ROWS


def test_a_path_is_read(tmp_path: Path) -> None:
    """A file's examples have its lines as their places; a str is a path."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "x"}\n')

    assert found(str(path)) == found(path) == [({"q": "x"}, "a.jsonl:1")]


def test_two_files_of_one_name_leave_each_example_its_place(tmp_path: Path) -> None:
    """A place names one example: its label, its feedback."""
    for folder in ("de", "fr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text('{"q": "x"}\n{"q": "y"}\n')
    both = wg.examples([*wg.examples(tmp_path / "de" / "a.jsonl"), *wg.examples(tmp_path / "fr" / "a.jsonl")])

    assert [each.place for each in both] == [
        "a.jsonl:1",
        "a.jsonl:2",
        "a.jsonl:1 (example 3)",
        "a.jsonl:2 (example 4)",
    ]


def test_a_local_dataset_file_is_read(tmp_path: Path) -> None:
    """A dataset that was saved to disk needs no network."""
    datasets.Dataset.from_dict({"q": ["x"]}).save_to_disk(str(tmp_path / "saved"))

    assert found(datasets.load_from_disk(str(tmp_path / "saved"))) == [({"q": "x"}, "example 1")]


def test_what_numpy_holds_is_json() -> None:
    """Numbers and arrays in the cells of a frame, and examples that were read before."""
    at = np.datetime64("2026-11-25T09:30", "ns")
    times = np.array([at, np.datetime64("NaT", "ns")])
    frame = pd.DataFrame({"n": [np.int64(3)], "v": [np.array([1.0, 2.0])], "b": [np.bool_(True)], "t": [times]})

    assert found(wg.examples(frame)) == [
        ({"n": 3, "v": [1.0, 2.0], "b": True, "t": ["2026-11-25T09:30:00.000000000", None]}, "example 1")
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ([], "there are no examples"),
        (pd.DataFrame({"q": []}), "there are no examples"),
        ({"train": [], "test": []}, "one mapping of 'train', 'test': pass .it., or one of its values"),
        (["x"], "example 1 is a str: pass a mapping from column to value"),
        ([{"q": "x"}, None], "example 2 is a NoneType"),
        (7, "a int holds no examples: pass a path, a frame, or a list of mappings"),
        (
            [{"q": object()}],
            "example 1: column 'q' holds a object, which has no JSON form: mend it, or leave the column out",
        ),
        ([{"q": float("inf")}], "example 1: column 'q' holds inf, which has no JSON form"),
        (pd.DataFrame([[1, 2]], columns=["q", "q"]), "two columns of the frame have the same name"),
        ([{1: "a", "1": "b"}], "example 1: two columns have the same name"),
        ([{"q": np.longdouble(1)}], "example 1: column 'q' holds a .*, which has no JSON form"),
        ([{"q": np.timedelta64(90, "ns")}], "example 1: column 'q' holds a timedelta64, which has no JSON form"),
        ("none.csv", "none.csv cannot be read: No such file"),
    ],
)
def test_what_holds_no_examples_is_told(source: Any, words: str) -> None:
    """With the place, and what to pass."""
    with pytest.raises(wg.UsageError, match=words):
        wg.examples(source)
