"""Text data sets: a table of texts with a label in each row, or texts alone, a line each.

A table is tab-separated UTF-8 with a header, as GLUE's are: one column or two of text, and one of labels, a
label for the text or one for each of its words, blanks between. Quotes are plain characters. A file whose
first line has no tab, or whose name ends in .txt, holds texts alone: of pairs the second stands behind a tab.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..base.classes import NONE
from ..base.errors import BadInput, RuntimeFault
from ..plan.file import InputSpec
from .tokens import Encoder, Feeds

if TYPE_CHECKING:
    from tokenizers import Encoding

LABEL = "label"
"""The column of labels, where no other is named."""

MAX_FILE = 2**30

SHOWN = 10
"""Lines that a message names, of many."""

Rows = list[list[str]]


@dataclass(frozen=True, repr=False)
class DataSet:
    """Texts, what each is paired with, and the class of each, 0 and up, or in ``words`` of each of its words.

    ``lines`` says where in the file each text stands, from 1; ``names`` what classes are called there.
    """

    path: Path
    lines: tuple[int, ...]
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None = None
    labels: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()
    words: tuple[tuple[int, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def some(self, places: Sequence[int]) -> DataSet:
        """The rows at ``places``, in that order."""

        def taken(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in places)

        return replace(
            self,
            lines=tuple(self.lines[i] for i in places),
            texts=taken(self.texts),
            pairs=None if self.pairs is None else taken(self.pairs),
            labels=None if self.labels is None else tuple(self.labels[i] for i in places),
            words=None if self.words is None else tuple(self.words[i] for i in places),
        )

    def apart(self) -> DataSet:
        """The texts and then what they are paired with, each by itself and without labels."""
        both = (*self.texts, *(self.pairs or ()))
        lines = self.lines * (len(both) // len(self))
        return replace(self, lines=lines, texts=both, pairs=None, labels=None, words=None)

    @property
    def labelled(self) -> bool:
        return self.labels is not None or self.words is not None

    def check_classes(self, count: int) -> None:
        """Raises BadInput, for a model that tells ``count`` classes apart, where there are no labels, or of
        one class alone, or one that the model does not know."""
        each = self.words or [(label,) for label in self.labels or ()]
        if not each:
            raise BadInput(
                f"{self.path}: texts without labels; accuracy wants a table with a column {LABEL!r}"
            )
        for i, labels in enumerate(each):
            if (most := max(labels)) >= count:
                raise BadInput(
                    f"{self._line(i)}: the label {self.names[most]!r} is class {most}, and the model has "
                    f"{count} classes, 0 to {count - 1}"
                )
        known = set().union(*each)
        if len(known) == 1:
            (only,) = known
            raise BadInput(
                f"{self.path}: each of {len(self)} rows has the label {self.names[only]!r}; accuracy wants "
                "two classes"
            )

    def wanted(self, encoded: Sequence[Encoding]) -> list[NDArray[np.int64]] | None:
        """Of each row its class, or the class of each of its tokens: of a word's first that of the word, of
        others `NONE`. None without labels."""
        if self.words is not None:
            each = zip(self.texts, self.words, encoded, strict=True)
            return [_of_tokens(text, words, encoding) for text, words, encoding in each]
        return None if self.labels is None else [np.array([label]) for label in self.labels]

    @contextmanager
    def naming(self, row: int) -> Iterator[None]:
        """A fault says which line of the file it is about."""
        try:
            yield
        except RuntimeFault as fault:
            raise type(fault)(f"{self._line(row)}: {fault}") from None

    def feeds(self, encoder: Encoder, *, truncate: bool = False) -> list[Feeds]:
        """The model's inputs of each row, padded to the shortest of its lengths that holds them.

        Raises BadInput as `encoded` does.
        """
        return encoder.feeds(self.encoded(encoder, truncate=truncate), alike=False)

    def encoded(self, encoder: Encoder, *, truncate: bool = False) -> list[Encoding]:
        """The tokens of each row, no more than the model holds.

        Raises BadInput, naming the line, for a prompt without tokens; and, counting them, where prompts are
        longer than all lengths, unless ``truncate`` cuts them.
        """
        found = []
        for i, text in enumerate(self.texts):
            with self.naming(i):
                found.append(encoder.encode(text, self.pairs[i] if self.pairs else None))
        long = [i for i, each in enumerate(found) if len(each.ids) > encoder.held]
        if long and not truncate:
            raise BadInput(
                f"{self.path}: {len(long)} of {len(self)} prompts have more than {encoder.held} tokens, "
                f"up to {max(len(found[i].ids) for i in long)}, on {self.where(long)}; take a longer "
                "--seq-len, or cut them with --truncate"
            )
        for i in long:
            found[i] = encoder.cut(self.texts[i], self.pairs[i] if self.pairs else None)
        return found

    def where(self, rows: Sequence[int]) -> str:
        """The lines of some rows, for people: the first ten."""
        told = ", ".join(str(self.lines[i]) for i in rows[:SHOWN])
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        return f"line{'s' if len(rows) > 1 else ''} {told}{more}"

    def _line(self, row: int) -> str:
        return f"{self.path}, line {self.lines[row]}"


def inputs_of(names: Sequence[str], length: int) -> list[tuple[InputSpec, ...]]:
    """For an `Encoder` of a model that is not compiled: its inputs of one row at one length."""
    return [tuple(InputSpec(name, (1, length), "int") for name in names)]


def read(
    path: str | Path,
    *,
    label_column: str | None = None,
    text_columns: Sequence[str] = (),
    names: Sequence[str] = (),
) -> DataSet:
    """The data set in a file. Raises BadInput, naming file and line.

    Args:
        label_column: by default the one called `LABEL`.
        text_columns: one, or the two of a pair; by default all but the labels'.
        names: what classes are called, by number. Without them labels that are whole numbers are numbers of
            classes, and others are numbered in the order of their names.
    """
    path = Path(path)
    rows = _rows(path)
    if path.suffix == ".txt" or len(rows[0]) == 1:
        if label_column or text_columns:
            raise BadInput(f"{path}: texts, a line each; columns are of a table with a header and tabs")
        return replace(_texts(path, rows), names=tuple(names))
    header, rows = rows[0], rows[1:]
    if not rows:
        raise BadInput(f"{path}: a header and no rows")
    told = label_column or LABEL
    label = _column(path, header, told)
    columns = [_column(path, header, name) for name in text_columns]
    columns = columns or [i for i in range(len(header)) if i != label]
    if len(columns) > 2 or label in columns:
        named = ", ".join(header[i] for i in columns)
        raise BadInput(f"{path}: the columns of text are one, or two of a pair, beside {told!r}, not {named}")
    data = _checked(path, 2, [[row[i] for i in columns] for row in rows])
    cells = [row[label].strip() for row in rows]
    by_word = [cell.split() for cell in cells]
    if data.pairs is None and _one_a_word(data, by_word):
        owners = [i for i, labels in enumerate(by_word) for _ in labels]
        flat, called = _labels(data, [label for labels in by_word for label in labels], owners, names)
        left = iter(flat)
        words = tuple(tuple(next(left) for _ in labels) for labels in by_word)
        return replace(data, words=words, names=called)
    classes, called = _labels(data, cells, range(len(data)), names)
    return replace(data, labels=classes, names=called)


def read_texts(path: Path) -> DataSet:
    """Prompts, a line each, or pairs, a tab between, whatever the file is called. Raises BadInput."""
    return _texts(path, _rows(path))


def _texts(path: Path, rows: Rows) -> DataSet:
    if len(rows[0]) > 2:
        raise BadInput(
            f"{path}, line 1: {len(rows[0]) - 1} tabs; a line is a prompt, or two of them with a tab between"
        )
    return _checked(path, 1, rows)


def _rows(path: Path) -> Rows:
    """The cells of each line, of which all have as many."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise BadInput(f"{path}: larger than {MAX_FILE >> 20} MiB; give a part of it")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: no text in UTF-8: {error.reason}") from None
    if not text.strip():
        raise BadInput(f"{path}: the file is empty")
    rows = [line.rstrip("\r").split("\t") for line in text.removesuffix("\n").split("\n")]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            empty = "the line is empty" if row == [""] else f"{len(row) - 1} tabs"
            raise BadInput(f"{path}, line {number}: {empty}, and the first line has {len(rows[0]) - 1} tabs")
    return rows


def _checked(path: Path, first: int, rows: Rows) -> DataSet:
    """Texts, or pairs, of which none is empty; ``first`` is the line that they begin on."""
    for number, row in enumerate(rows, first):
        if not all(map(str.strip, row)):
            raise BadInput(f"{path}, line {number}: the prompt is empty")
    lines = tuple(range(first, first + len(rows)))
    pairs = tuple(row[1] for row in rows) if len(rows[0]) == 2 else None
    return DataSet(path, lines, tuple(row[0] for row in rows), pairs)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    if header.count(name) != 1:
        held = "no column" if name not in header else f"{header.count(name)} columns"
        raise BadInput(f"{path}, line 1: {held} {name!r} among {', '.join(header)}")
    return header.index(name)


def _one_a_word(data: DataSet, labels: Rows) -> bool:
    """Whether each text has as many labels as words, and some have several."""
    counts = [len(text.split()) for text in data.texts]
    return max(counts) > 1 and counts == [len(each) for each in labels]


def _of_tokens(text: str, words: Sequence[int], encoding: Encoding) -> NDArray[np.int64]:
    found = np.full(len(encoding.ids), NONE)
    ends = [each.end() for each in re.finditer(r"\S+", text)]
    told: set[int] = set()
    for place, (start, end) in enumerate(encoding.offsets):
        # some tokenizers count the blank before a word as its own
        start += len(text[start:end]) - len(text[start:end].lstrip())
        word = bisect_right(ends, start)
        if start < end and not encoding.special_tokens_mask[place] and word not in told:
            found[place] = words[word]
            told.add(word)
    return found


def _labels(
    data: DataSet, cells: Sequence[str], rows: Sequence[int], names: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Numbers of classes, and what classes are called; ``rows`` says whose label each is."""
    known = {name: i for i, name in enumerate(names)}
    whole = not any(cell in known for cell in cells) and _is_number(cells[0])
    if not names and not whole:
        known = {name: i for i, name in enumerate(sorted(set(cells)))}
    for i, cell in zip(rows, cells, strict=True):
        with data.naming(i):
            if not cell:
                raise BadInput("the label is missing")
            if whole and not _is_number(cell):
                raise BadInput(f"the label is {cell!r}, and on the lines before a number")
            if not whole and cell not in known:
                raise BadInput(f"the label is {cell!r}, which is none of {', '.join(known)}")
            if not names and not whole and _is_number(cell):
                raise BadInput(f"the label is the number {cell}, and on the lines before a name")
    if not whole:
        return tuple(known[cell] for cell in cells), tuple(known)
    numbers = tuple(map(int, cells))
    called = [*names, *map(str, range(len(names), max(numbers) + 1))]
    return numbers, tuple(called)


def _is_number(cell: str) -> bool:
    """Whether a cell is the number of a class; one of five digits or more is none."""
    return cell.isascii() and cell.isdecimal() and len(cell) < 5
