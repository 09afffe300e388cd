"""Data sets as people have them in files: what is read, and what is refused on which line."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ppc.runtime.base.classes import NONE
from ppc.runtime.base.errors import BadInput
from ppc.runtime.plan.file import InputSpec
from ppc.runtime.service.dataset import DataSet, inputs_of, read, read_texts
from ppc.runtime.service.tokens import Encoder


@pytest.fixture
def file(tmp_path):
    def made(text: str | bytes, name: str = "dev.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return made


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    made = Tokenizer(models.WordLevel({"[PAD]": 0, **{f"w{i}": i for i in range(1, 7)}}))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    made.save(str(path))
    return path


def columns(data: DataSet) -> tuple[object, ...]:
    return data.texts, data.pairs, data.labels, data.names


@pytest.mark.parametrize(
    "text",
    [
        'sentence\tlabel\na "b\t1\nc\t0\n',
        'sentence\tlabel\na "b\t1\nc\t0',
        '\ufeffsentence\tlabel\r\na "b\t1\r\nc\t0\r\n',
        'label\tsentence\n1\ta "b\n0\tc\n',
        'sentence\tlabel\na "b\t 1\nc\t0 \n',
    ],
    ids=["plain", "no last line end", "BOM and CRLF", "label first", "spaces"],
)
def test_one_column_of_text_beside_the_label(file, text):
    assert columns(read(file(text))) == (('a "b', "c"), None, (1, 0), ("0", "1"))


def test_two_columns_are_pairs(file):
    data = read(file("sentence1\tsentence2\tlabel\na\tb\t0\nc\td\t2\n"))
    assert columns(data) == (("a", "c"), ("b", "d"), (0, 2), ("0", "1", "2"))
    assert data.lines == (2, 3)


def test_columns_by_name(file):
    path = file("id\ta\tb\tgood\tlabel\n9\tx\ty\t1\tq\n8\tz\tw\t0\tr\n")
    data = read(path, label_column="good", text_columns=["b"])
    assert columns(data) == (("y", "w"), None, (1, 0), ("0", "1"))
    assert read(path, label_column="good", text_columns=["b", "a"]).pairs == ("x", "z")


@pytest.mark.parametrize(
    ("cells", "names", "labels", "called"),
    [
        (("yes", "no"), (), (1, 0), ("no", "yes")),
        (("yes", "no"), ("yes", "no", "maybe"), (0, 1), ("yes", "no", "maybe")),
        (("1", "0"), ("yes", "no"), (1, 0), ("yes", "no")),
        (("1", "2"), ("1", "2"), (0, 1), ("1", "2")),
        (("3", "0"), ("a", "b"), (3, 0), ("a", "b", "2", "3")),
    ],
)
def test_labels_are_numbers_or_names(file, cells, names, labels, called):
    data = read(file("text\tlabel\n" + "".join(f"a\t{cell}\n" for cell in cells)), names=names)
    assert (data.labels, data.names) == (labels, called)


def test_texts_alone(file):
    assert columns(read(file("a b\nc\n", "texts"))) == (("a b", "c"), None, None, ())
    assert columns(read(file("a\tb\nc\td\n", "texts.txt"))) == (("a", "c"), ("b", "d"), None, ())
    assert columns(read_texts(file("a\tb\nc\td\n"))) == (("a", "c"), ("b", "d"), None, ())
    assert read_texts(file("a\nb\n")).lines == (1, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dev.tsv: the file is empty"),
        ("\ufeff\r\n\n", "dev.tsv: the file is empty"),
        ("text\tlabel\n", "dev.tsv: a header and no rows"),
        ("text\tlabel\na\t1\nb\n", "line 3: 0 tabs, and the first line has 1"),
        ("text\tlabel\na\tb\t1\n", "line 2: 2 tabs, and the first line has 1"),
        ("text\tlabel\na\t1\n\nb\t0\n", "line 3: the line is empty"),
        ("text\tlabel\na\t1\nb\t\n", "line 3: the label is missing"),
        ("text\tlabel\na\t\nb\t1\n", "line 2: the label is missing"),
        ("text\tlabel\na\t1\n \t0\n", "line 3: the prompt is empty"),
        ("text\tlabel\na\t1\nb\tgood\n", "line 3: the label is 'good', and on the lines before a number"),
        ("text\tlabel\na\tgood\nb\t1\n", "line 3: the label is the number 1, and on the lines before a name"),
        ("text\tlabel\na\t1\nb\t-1\n", "line 3: the label is '-1'"),
        (b"text\tlabel\na\t1\nb\xe9\t0\n", "line 3: no text in UTF-8"),
        ("text\tlabel\n".encode("utf-16"), "line 1: no text in UTF-8"),
        ("text\tclass\na\t1\n", "line 1: no column 'label' among text, class"),
        ("label\tlabel\na\t1\n", "line 1: 2 columns 'label' among label, label"),
        ("a\tb\tc\tlabel\n1\t2\t3\t4\n", "one, or two of a pair, beside 'label', not a, b, c"),
    ],
)  # fmt: skip
def test_what_is_no_data_set(file, text, message):
    with pytest.raises(BadInput, match=message):
        read(file(text))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"label_column": "sort"}, "no column 'sort' among text, label"),
        ({"text_columns": ["label"]}, "beside 'label', not label"),
        ({"text_columns": ["words"]}, "no column 'words'"),
        ({"names": ("x", "y")}, "line 2: the label is 'good', which is none of x, y"),
    ],
)
def test_what_a_table_has_not(file, asked, message):
    with pytest.raises(BadInput, match=message):
        read(file("text\tlabel\na\tgood\n"), **asked)


def test_texts_alone_have_no_columns(file):
    with pytest.raises(BadInput, match="a line each; columns are of a table"):
        read(file("a\nb\n"), label_column="label")


@pytest.mark.parametrize("there", [False, True], ids=["missing", "a folder"])
def test_files_that_cannot_be_read(tmp_path, there):
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path if there else tmp_path / "none.tsv")


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "huge.tsv").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(BadInput, match="larger than 1024 MiB"):
        read(tmp_path / "huge.tsv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a\t0\nb\t2\n", "line 3: the label '2' is class 2, and the model has 2 classes, 0 to 1"),
        ("a\t1\nb\t1\n", "each of 2 rows has the label '1'"),
    ],
)
def test_labels_that_tell_no_accuracy(file, rows, message):
    with pytest.raises(BadInput, match=message):
        read(file(f"text\tlabel\n{rows}")).check_classes(2)


def test_a_label_for_each_word(file):
    data = read(file("text\tlabel\nAda met Bob\tP O P\nnobody\tO\n"))
    assert (data.words, data.labels, data.names) == (((1, 0, 1), (0,)), None, ("O", "P"))
    assert data.some([1]).words == ((0,),)
    numbers = read(file("text\tlabel\na b\t0 1\n c \t2\n"))
    assert (numbers.words, numbers.names) == (((0, 1), (2,)), ("0", "1", "2"))
    given = read(file("text\tlabel\na b\tx y\n"), names=("y", "z", "x"))
    assert (given.words, given.names) == (((2, 0),), ("y", "z", "x"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a b\t0 1\nc\tx\n", "line 3: the label is 'x', and on the lines before a number"),
        ("a b\t0 1\nc\t2\n", "line 3: the label '2' is class 2, and the model has 2 classes"),
        ("a b\tx x\nc\tx\n", "each of 2 rows has the label 'x'"),
    ],
)
def test_wrong_labels_of_words_are_told_by_their_lines(file, rows, message):
    with pytest.raises(BadInput, match=message):
        read(file(f"text\tlabel\n{rows}")).check_classes(2)


def test_as_many_blanks_as_words_or_else_it_is_a_name(file):
    data = read(file("text\tlabel\na b c\tvery good\nd e\tvery good\nf g\tbad\n"))
    assert (data.words, data.names) == (None, ("bad", "very good"))


def test_a_words_class_is_that_of_its_first_token(file):
    """A piece within a word has none, nor has what the tokenizer adds; a word that was cut off is let go."""
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "[CLS]": 1, "un": 2, "##do": 3, "it": 4, "!": 5}))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    data = read(file("text\tlabel\n undo  it! it\t0 1 2\nit\t1\n"))
    found = data.wanted([made.encode(text) for text in data.texts])
    assert [each.tolist() for each in found] == [[NONE, 0, NONE, 1, NONE, 2], [NONE, 1]]
    made.enable_truncation(3)
    assert data.wanted([made.encode(text) for text in data.texts])[0].tolist() == [NONE, 0, NONE]


def test_a_blank_that_belongs_to_a_token_does_not_move_it(file):
    made = Tokenizer(models.BPE({"Ġ": 0, "a": 1, "b": 2, "Ġa": 3, "Ġb": 4}, [("Ġ", "a"), ("Ġ", "b")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    data = read(file("text\tlabel\na b a\t0 1 2\n"))
    (found,) = data.wanted([made.encode(text) for text in data.texts])
    assert found.tolist() == [0, 1, 2]


def test_texts_without_labels_tell_none_either(file):
    with pytest.raises(BadInput, match="texts without labels"):
        read(file("a\nb\n")).check_classes(2)


def test_some_rows_keep_their_lines(file):
    data = read(file("a\tb\tlabel\n1\t2\tx\n3\t4\ty\n5\t6\tx\n")).some([2, 0])
    assert columns(data) == (("5", "1"), ("6", "2"), (0, 0), ("x", "y"))
    assert data.lines == (4, 2)


def test_each_text_at_the_length_that_holds_it(file, words):
    data = read(file("text\tlabel\nw1\t0\nw1 w2 w3\t1\n"))
    lengths = [
        (InputSpec("input_ids", (1, n), "int"), InputSpec("input_mask", (1, n), "int")) for n in (2, 4)
    ]
    feeds = data.feeds(Encoder(words, lengths))
    assert [each["input_ids"].tolist() for each in feeds] == [[[1, 0]], [[1, 2, 3, 0]]]


def test_texts_that_are_too_long_are_counted_or_cut(file, words):
    data = read(file("text\tlabel\nw1\t0\nw1 w2 w3\t1\nw1 w2\t1\nw1 w2 w3 w4\t0\n"))
    encoder = Encoder(words, inputs_of(["input_ids"], 2))
    with pytest.raises(BadInput, match="2 of 4 prompts have more than 2 tokens, up to 4, on lines 3, 5; "):
        data.feeds(encoder)
    cut = data.feeds(encoder, truncate=True)
    assert [each["input_ids"].tolist() for each in cut] == [[[1, 0]], [[1, 2]], [[1, 2]], [[1, 2]]]
    with pytest.raises(BadInput, match="more than 2 tokens"):
        data.feeds(encoder)


def test_what_no_token_is_found_in_is_named_by_its_line(file, words):
    data = read(file("text\tlabel\nw1\t0\nhello\t1\n"))
    with pytest.raises(BadInput, match=r"dev\.tsv, line 3: the tokenizer cannot encode"):
        data.feeds(Encoder(words, inputs_of(["input_ids"], 4)))


def test_many_lines_are_named_by_the_first(file):
    data = read_texts(file("a\n" * 13))
    assert data.where(range(13)) == "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more"
    assert data.where([4]) == "line 5"
