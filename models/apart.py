"""Rows of a table kept apart, to decide by: whole texts, and nothing of them in what is left to train on.

    python models/apart.py train.tsv --rows 600 -o decide.tsv --rest teach.tsv

Tables like SST-2's have sentences and their phrases in rows of their own. A model that was trained on the
phrases knows the sentence, so that it tells nothing of sentences that are new.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppc.runtime.base.errors import BadInput, Error
from ppc.runtime.base.files import whole
from ppc.runtime.service.dataset import DataSet, read


def parts(text: str) -> Iterator[str]:
    """All that stands in a text from one word to another, itself included."""
    words = text.split()
    for end in range(len(words) + 1):
        for start in range(end):
            yield " ".join(words[start:end])


def divide(data: DataSet, rows: int, seed: int) -> tuple[list[int], list[int]]:
    """The places of ``rows`` rows that are no part of others, and of all that have no part of those.

    Raises BadInput where there are not so many.
    """
    columns = [data.texts] if data.pairs is None else [data.texts, data.pairs]
    texts = [[" ".join(each.split()) for each in row] for row in zip(*columns, strict=True)]
    known = {text for row in texts for text in row}
    inner = {part for text in known for part in parts(text) if part in known and part != text}
    outer = [i for i, row in enumerate(texts) if inner.isdisjoint(row)]
    if len(outer) < rows:
        raise BadInput(f"{data.path}: {len(outer)} rows are no part of others, and {rows} are to be drawn")
    drawn = random.Random(seed).sample(outer, rows)
    taken = {part for i in drawn for text in texts[i] for part in parts(text)}
    return sorted(drawn), [i for i, row in enumerate(texts) if taken.isdisjoint(row)]


def write(data: DataSet, places: Sequence[int], path: Path) -> None:
    """Those rows as they stand in the file, under its header. BadInput where ``path`` cannot be written."""
    lines = data.path.read_text(encoding="utf-8").split("\n")
    text = "\n".join([lines[0], *(lines[data.lines[i] - 1] for i in places), ""])
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a table with tabs, a header and a column label")
    parser.add_argument("--rows", type=int, required=True, help="how many to keep apart")
    parser.add_argument("-o", "--output", type=Path, required=True, help="where they go")
    parser.add_argument("--rest", type=Path, required=True, help="where all go that have no part of them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        data = read(args.data)
        drawn, rest = divide(data, args.rows, args.seed)
        write(data, drawn, args.output)
        write(data, rest, args.rest)
    except Error as fault:
        sys.exit(str(fault))
    print(f"{args.output}: {len(drawn):,} rows; {args.rest}: {len(rest):,} of {len(data):,}")


if __name__ == "__main__":
    main()
