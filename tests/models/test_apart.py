"""`models/apart.py`: rows to decide by, of which what is left knows nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small import ROOT

ROWS = [
    ("the film is a quiet joy", 1),
    ("a quiet joy", 1),
    ("quiet", 1),
    ("the plot never wakes up", 0),
    ("never wakes", 0),
    ("plot", 0),
    ("the film", 1),
]


def table(path: Path, rows: list[tuple[object, ...]], header: str) -> Path:
    lines = ["\t".join(map(str, row)) for row in rows]
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def apart(data: Path, rows: int, seed: int = 0) -> tuple[str, list[str], list[str]]:
    """What was said, and the lines of both files."""
    out, rest = data.with_name("decide.tsv"), data.with_name("teach.tsv")
    done = subprocess.run(
        [sys.executable, ROOT / "models" / "apart.py", data, "--rows", str(rows), "-o", out,
         "--rest", rest, "--seed", str(seed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return done.stderr, [], []
    return done.stdout, *(each.read_text(encoding="utf-8").splitlines() for each in (out, rest))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_of_what_is_drawn_is_left(tmp_path, seed):
    data = table(tmp_path / "train.tsv", ROWS, "sentence\tlabel")
    _, drawn, rest = apart(data, 1, seed)
    assert drawn[0] == rest[0] == "sentence\tlabel"
    left = {
        "the film is a quiet joy\t1": ["the plot never wakes up\t0", "never wakes\t0", "plot\t0"],
        "the plot never wakes up\t0": [
            "the film is a quiet joy\t1",
            "a quiet joy\t1",
            "quiet\t1",
            "the film\t1",
        ],
    }
    assert rest[1:] == left[drawn[1]]


def test_of_pairs_neither_text_is_left(tmp_path):
    pairs = [("he said so", "so he said", 1), ("he said so", "she went", 0), ("it rained", "it snowed", 0)]
    data = table(tmp_path / "train.tsv", pairs, "one\ttwo\tlabel")
    said, drawn, rest = apart(data, 1, seed=1)
    assert len(drawn) == 2
    first = {"he said so", "so he said"} if "he said so" in drawn[1] else {"it rained"}
    assert all(text not in line for line in rest[1:] for text in first)
    assert said.startswith(f"{tmp_path / 'decide.tsv'}: 1 rows;")


def test_more_rows_than_there_are(tmp_path):
    data = table(tmp_path / "train.tsv", ROWS, "sentence\tlabel")
    said, _, _ = apart(data, 3)
    assert said == f"{data}: 2 rows are no part of others, and 3 are to be drawn\n"


def test_a_file_that_is_not_there(tmp_path):
    said, _, _ = apart(tmp_path / "none.tsv", 3)
    assert "none.tsv" in said
    assert "Traceback" not in said


def test_a_place_that_takes_nothing(tmp_path):
    data = table(tmp_path / "train.tsv", ROWS, "sentence\tlabel")
    (tmp_path / "teach.tsv").mkdir()
    said, _, _ = apart(data, 1)
    assert "teach.tsv" in said
    assert "Traceback" not in said
