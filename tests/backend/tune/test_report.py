"""What is told of a tuning: decisions, the front, and pages that hold together whatever the names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("torch")

from tunable import CLASSES, classifier

from ppc.backend.scores import Rate
from ppc.backend.task import Task
from ppc.backend.tune import report
from ppc.backend.tune.judge import Verdict
from ppc.backend.tune.ladder import Step, Worth
from ppc.backend.tune.menu import Unit
from ppc.backend.tune.price import Price
from ppc.backend.tune.search import Found, Round, decisions
from ppc.backend.tune.settings import Goal, Settings
from ppc.backend.tune.tune import Tuned
from ppc.frontend.ir import ops
from ppc.frontend.ir.graph import Op
from ppc.passes.friendly import variants


def unit(op: type[Op], *names: str) -> Unit:
    return Unit(op.__name__, "layer.<1>", tuple(variants(op)[name] for name in names), ())


(NORM,) = unit(ops.LayerNorm, "affine").rungs
(GELU,) = unit(ops.Gelu, "relu").rungs
MEAN, SUM = unit(ops.Softmax, "relu_mean", "relu_sum").rungs


def said(hits: int) -> Verdict:
    return Verdict(Rate(hits, 200), Rate(hits, 200))


def tuned() -> Tuned:
    norm = Worth(NORM, 4.0, Price(9_000_000, 0.9), 100)
    gelu = Worth(GELU, 1.0, Price(8_000_000, 0.8), 100)
    mean, sum_ = (Worth(x, 3.0 - x.place, Price(7_000_000 - x.place, 0.7), 100) for x in (MEAN, SUM))
    taken = (Step(norm, None), Step(mean, sum_))
    rounds = (
        Round((NORM, GELU, MEAN), 30, said(120), said(150), Price(10_000_000, 1.0), taken),
        Round((GELU, SUM), 10, said(155), said(178), Price(20_000_000, 2.0)),
    )
    return Tuned(
        model=Path("m&m.onnx"),
        output=Path("f.onnx"),
        task=Task("classes", "logits", CLASSES, False),
        tokens=32,
        settings=Settings(),
        rows={"train": 1, "rate": 2, "decide": 3, "valid": 4},
        decisions=decisions([(norm,), (gelu,), (mean, sum_)], said(180), rounds),
        found=Found(classifier(), rounds, True),
        decided=said(180),
        final={"teacher": said(180), "untuned": said(100), "tuned": said(176), "control": said(182)},
        prices={"teacher": Price(40_000_000, 4.0), "tuned": Price(20_500_000, 2.1)},
    )


def test_a_decision_has_the_scores_that_it_was_made_by() -> None:
    norm, gelu, softmax = tuned().decisions
    assert (norm.replaced, norm.before, norm.after) == (False, 0.75, 0.89)
    assert (gelu.replaced, gelu.before, gelu.after) == (True, 0.9, 0.89)
    assert norm.document()["decision"] == "exact"
    assert (softmax.replaced, softmax.before, softmax.after) == (True, 0.75, 0.89)
    assert softmax.document()["left"] == ["relu_mean"]


def test_the_front_leaves_out_what_something_cheaper_is_as_good_as() -> None:
    made = tuned()
    assert [(p.name, p.variants, p.front) for p in report.points(made)] == [
        ("3 replaced", "1 affine, 1 relu, 1 relu_mean", True),
        ("2 replaced", "1 relu, 1 relu_sum", True),
        ("exact", "", True),
    ]
    worse = replace(made, decided=said(178))
    assert [p.front for p in report.points(worse)] == [True, True, False]


def test_a_document_is_json() -> None:
    found = json.loads(json.dumps(report.document(tuned())))
    assert found["final"]["tuned"]["accuracy"]["value"] == 0.88
    taken = ["LayerNorm of layer.<1> to exact", "Softmax of layer.<1> to relu_sum"]
    assert [each["taken"] for each in found["rounds"]] == [taken, []]
    assert [each["variants"] for each in found["front"]] == [
        "1 affine, 1 relu, 1 relu_mean",
        "1 relu, 1 relu_sum",
        "",
    ]
    assert found["prices"]["tuned"] == {"bytes": 20_500_000, "seconds": 2.1}


def test_for_a_terminal() -> None:
    text = "\n".join(report.lines(tuned()))
    assert "88.0 % (82.8 to 91.8)" in text
    assert "1.95 times fewer bytes" in text
    assert "not kept" not in text
    assert re.search(r"Softmax of layer.<1> +relu_mean -> relu_sum +alone   2.00", text)
    assert "89.00 %  2 replaced: 1 relu, 1 relu_sum" in text
    kept = replace(tuned(), found=replace(tuned().found, met=False))
    assert "a budget of 1 points and a target of none were not both kept" in "\n".join(report.lines(kept))


def test_a_page_is_one_file_in_which_every_name_is_escaped() -> None:
    page = report.written(tuned(), ".html")
    assert "m&amp;m.onnx" in page
    assert "layer.&lt;1&gt;" in page
    assert not re.search(r"<script|src=|href=|url\(", page)
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    kinds = [each.tag for each in picture]
    assert kinds.count("circle") == 3
    titles = [each[0].text for each in picture.iter("circle")]
    assert titles == ["1 affine, 1 relu, 1 relu_mean", "1 relu, 1 relu_sum", "exact"]
    assert '<td class="text">relu_mean → relu_sum</td>' in page
    for each in picture.iter("circle"):
        assert 0 <= float(each.attrib["cx"]) <= report.WIDE
        assert 0 <= float(each.attrib["cy"]) <= report.HIGH


def test_a_page_of_tables() -> None:
    text = report.written(tuned(), ".md")
    assert "| replaced and tuned | 88.0 % (82.8 to 91.8) | 88.0 % (82.8 to 91.8) |" in text
    assert "| layer.<1> | LayerNorm | affine → exact | 4.00 | 9.00 | 0.90 | 0.7500 | 0.8900 |" in text


def test_a_target_is_of_the_file() -> None:
    assert not replace(tuned(), settings=Settings(goal=Goal(bytes=20e6))).met
    assert replace(tuned(), settings=Settings(goal=Goal(bytes=21e6))).met


def test_embeddings_have_no_rate() -> None:
    assert report.said(Verdict(cosine=0.97, ranks=0.95), "agreement") == "cosine 0.9700, ranks 0.9500"
    assert report.said(Verdict(cosine=0.97), "accuracy") == ""
