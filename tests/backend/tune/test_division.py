"""Which rows are for what, and what data do not fit a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from text_model import word_tokenizer
from tunable import CLASSES, ROWS, TOKENS, classifier, folder, table

from ppc.backend.task import Task
from ppc.backend.tune import division as module
from ppc.backend.tune.division import Division, mixed, others
from ppc.backend.tune.price import planned
from ppc.passes.train.examples import Examples
from ppc.runtime.base.classes import NONE
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.network import LAN
from ppc.runtime.plan.file import Plan
from ppc.runtime.service.dataset import DataSet, read

pytestmark = pytest.mark.long

SAID = Task("classes", "logits", CLASSES, False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(classifier(), None, LAN)


def parts(place: Path, plan: Plan, *, data: str = "train.tsv", tokenizer: str = "tokenizer.json") -> Division:
    tables = read(place / data), read(place / "dev.tsv")
    return Division.of(*tables, plan, classifier(), SAID, place / tokenizer, False, 0)


def test_every_row_is_for_one_thing(place: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    found = parts(place, plan)
    assert found.counts == {"train": 140, "rate": 20, "decide": 40, "valid": 60}
    assert len(found.samples) == module.CALIBRATING
    monkeypatch.setattr(module, "DECIDING", 10)
    monkeypatch.setattr(module, "HOLDING", 5)
    assert parts(place, plan).counts == {"train": 185, "rate": 5, "decide": 10, "valid": 60}


def test_rows_that_decide_are_given(place: Path, plan: Plan) -> None:
    tables = read(place / "train.tsv"), read(place / "dev.tsv")
    files = plan, classifier(), SAID, place / "tokenizer.json", False, 0
    found = Division.of(*tables, *files, decide=read(place / "dev.tsv"))
    assert found.counts == {"train": 180, "rate": 20, "decide": 60, "valid": 60}
    assert (found.decide.examples.feeds["input_ids"] == found.final.examples.feeds["input_ids"]).all()


def test_texts_made_of_two(place: Path, plan: Plan) -> None:
    """As many as were asked for, none too long, without labels, and of rows that are trained on alone."""
    tables = read(place / "train.tsv"), read(place / "dev.tsv")
    files = plan, classifier(), SAID, place / "tokenizer.json", False, 0
    plain, found = (Division.of(*tables, *files, mix=mix) for mix in (0.0, 1.5))
    assert found.counts == {**plain.counts, "train": 140 + 210}
    examples, own = found.train.examples, plain.train.examples
    assert examples.labels is not None
    assert examples.tokens is not None
    assert (examples.labels[140:] == NONE).all()
    assert (examples.labels[:140] == own.labels).all()
    assert examples.tokens.max() <= TOKENS
    assert len(examples.labelled) == 140
    ids, tokens = (own.feeds["input_ids"][:, 0], own.tokens)
    assert tokens is not None
    known = {tuple(row[:count]) for row, count in zip(ids, tokens, strict=True)}
    for row, count in zip(examples.feeds["input_ids"][140:, 0], examples.tokens[140:], strict=True):
        assert any(tuple(row[:i]) in known and tuple(row[i:count]) in known for i in range(1, count))
    again = Division.of(*tables, *files, mix=1.5)
    assert (again.train.examples.feeds["input_ids"] == examples.feeds["input_ids"]).all()


def test_pairs_made_of_two(place: Path) -> None:
    """A third of them one pair the other way round, a third of texts of any two, a third without words."""
    first, second = tuple("abcdef"), tuple("uvwxyz")
    data = DataSet(Path("a"), tuple(range(2, 8)), first, second, (0, 1) * 3)
    made = mixed(data, Examples({}), 6, 500.0, 0)
    assert len(made) == 3000
    assert made.labels is None
    assert made.pairs is not None
    pairs = list(zip(made.texts, made.pairs, strict=True))
    assert set(pairs[::3]) == set(zip(second, first, strict=True))
    assert set(pairs[1::3]) == {(x, y) for x in first + second for y in first + second}
    assert set(pairs[2::3]) == set(zip(first, second, strict=True))  # a word alone stays
    assert all(
        line - 2 in ("abcdef".find(x), "uvwxyz".find(x))
        for line, x in zip(made.lines, made.texts, strict=True)
    )


def test_pairs_without_some_words() -> None:
    """Some of each text, the others in their order; never all of them."""
    first, second = ("a b c d e f g h", "i j"), ("k l m n o p", "q")
    data = DataSet(Path("a"), (2, 3), first, second, (0, 1))
    made = mixed(data, Examples({}), 6, 300.0, 0)
    assert made.pairs is not None
    for text, other in list(zip(made.texts, made.pairs, strict=True))[2::3]:
        row = first.index(next(each for each in first if text[0] in each))
        for said, whole in ((text, first[row]), (other, second[row])):
            kept, words = said.split(), whole.split()
            assert 0 < len(kept) < len(words) or kept == words == ["q"]
            assert kept == [word for word in words if word in kept]
    assert len({len(text.split()) for text in made.texts[2::3]}) > 3


def test_what_cannot_be_mixed(place: Path, plan: Plan) -> None:
    examples = Division.of(
        read(place / "train.tsv"),
        read(place / "dev.tsv"),
        plan,
        classifier(),
        SAID,
        place / "tokenizer.json",
        False,
        0,
    ).train.examples
    with pytest.raises(BadInput, match="--mix 1: no two texts of a fit into 3 tokens"):
        mixed(rows("a", *"xyz"), examples.at(np.flatnonzero(examples.tokens > 2)[:3]), 3, 1.0, 0)


def test_the_tokenizer_of_another_model(place: Path, plan: Plan) -> None:
    word_tokenizer(place / "larger.json", ROWS + 30)
    (place / "larger.tsv").write_text((place / "train.tsv").read_text() + "w1 w45\t1\n")
    wanted = rf"larger\.json: the id 45 for input 'input_ids', whose table in the model has {ROWS} rows"
    with pytest.raises(BadInput, match=wanted):
        parts(place, plan, data="larger.tsv", tokenizer="larger.json")


def test_too_few_rows(place: Path, plan: Plan) -> None:
    table(place / "few.tsv", module.FEWEST - 1, seed=3)
    with pytest.raises(BadInput, match=r"few\.tsv: 19 rows are too few to tune on; give 20 or more"):
        parts(place, plan, data="few.tsv")


def rows(name: str, *texts: str) -> DataSet:
    return DataSet(Path(name), tuple(range(len(texts))), texts)


def test_rows_of_valid_are_left_out() -> None:
    assert others(rows("a", "x", "y", "z"), rows("b", "y", "w")).texts == ("x", "z")
    with pytest.raises(BadInput, match="all rows of a are in b too"):
        others(rows("a", "x", "y"), rows("b", "y", "x", "w"))
    with pytest.raises(BadInput, match="--valid is --data, a: the final numbers are of texts"):
        others(rows("a", "x", "y"), rows("a", "x", "y"))


def test_pairs_are_the_same_in_both_halves_alone() -> None:
    data = DataSet(Path("a"), (1, 2), ("x", "x"), ("y", "z"))
    assert others(data, DataSet(Path("b"), (1,), ("x",), ("z",))).pairs == ("y",)


def test_both_have_the_same_columns() -> None:
    labelled = DataSet(Path("b"), (1,), ("x",), labels=(1,), names=("0", "1"))
    for each in ((rows("a", "y"), labelled), (labelled, rows("a", "y"))):
        with pytest.raises(BadInput, match="b has labels, and a has none; both want the same columns"):
            others(*each)
    with pytest.raises(BadInput, match="c has pairs, and a has none"):
        others(DataSet(Path("c"), (1,), ("x",), ("y",)), rows("a", "y"))
