"""The page of a plan: complete, well formed, alone in the world, and unmoved by hostile names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from markupsafe import escape
from tiny import tiny_plan

from ppc.backend import html
from ppc.backend.glossary import meanings
from ppc.backend.html import (
    WORDS,
    _layers,
    _nodes,
    _places,
    _tree,
    duration,
    level,
    page,
    percent,
    rate,
    short,
    size,
)
from ppc.backend.report import summary
from ppc.runtime.net.network import WAN
from ppc.runtime.plan.file import Options

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Reader(HTMLParser):
    """Tags in order; fails where one is left open or closed twice."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def document():
    return summary(tiny_plan(), WAN)


@pytest.fixture(scope="module")
def errors(document):
    named = [row["step"] for row in document["steps"] if "/" in row["step"]]
    return [{"name": f"/{s.split('/', 1)[1]}", "max_error": 0.5, "relative": 0.04} for s in named]


def test_a_page_is_well_formed_and_says_what_the_plan_says(document, errors):
    reader = Reader(page(document, errors))
    text = " ".join(reader.text)
    assert all(row["value"] in text for row in document["who_sees_what"])
    assert "of the model: 5 numbers that are places of a look-up" in text
    for word in (document["plan"], "exact", "i26f8", "wan", "100 Mbit/s", "Maximum", "revealed", "4.000 %"):
        assert word in text
    for row in document["steps"]:
        assert row["step"].split()[0] in text
    for phase, cost in document["predicted"].items():
        assert phase in text
        assert size(cost["client"]) in text
        assert duration(cost["seconds"]) in text
    for product in (each for row in document["steps"] for each in row.get("products", ())):
        assert all(str(product[what]) in text for what in ("error", "spare"))


def test_a_page_begins_with_all_networks_side_by_side(document):
    text = " ".join(Reader(page(document)).text)
    start = text[text.index("All of a first inference") : text.index("Bytes and flights are exact")]
    whole = sum(cost["client"] + cost["server"] for cost in document["predicted"].values())
    assert start.count(size(whole)) == 4
    for each in document["networks"]:
        assert each["name"] in start
        assert all(duration(seconds) in start for seconds in (each["seconds"], *each["phases"].values()))


def test_a_page_says_what_would_make_it_cheaper_and_by_how_much_where_that_is_known(document):
    reader = Reader(page(document))
    text = " ".join(reader.text)
    rows = document["cheaper"]
    assert any(row["bytes"] is None for row in rows)
    for row in rows:
        assert row["what"] in text
        assert row["how"] in text
        assert row["bytes"] is None or size(row["bytes"]) in text
        assert row["seconds"] is None or duration(row["seconds"]) in text


def test_the_picture_of_the_budget_is_in_proportion(document):
    """Widths of its bars, by layer: of time in work and link, offline and online; and of bytes."""
    steps = [dict(row, number=row["step"].partition(" ")[0], place=place)
             for row, place in zip(document["steps"], _places(document["steps"]), strict=True)]  # fmt: skip
    layers = _layers(_tree(steps, {}))
    slowest, largest = (max(getattr(part, what) for part in layers) for what in ("seconds", "bytes"))
    picture = re.search(r'<table class="cards budget">.*?</table>', page(document), re.DOTALL)[0]
    shown = re.findall(r'<svg class="stack".*?</svg>', picture, re.DOTALL)
    assert len(shown) == 2 * len(layers)
    for part, time, size_ in zip(layers, shown[::2], shown[1::2], strict=True):
        off, on = part.offline, part.online
        wanted = {"offline": off.work, "offline link": off.link, "online": on.work, "online link": on.link}
        assert bars(time) == pytest.approx({k: 1000 * v / slowest for k, v in wanted.items() if v}, abs=0.1)
        wanted = {"offline": off.bytes, "online": on.bytes}
        assert bars(size_) == pytest.approx({k: 1000 * v / largest for k, v in wanted.items() if v}, abs=0.1)
        assert f"offline {duration(off.seconds)}, online {duration(on.seconds)}" in time


def bars(svg):
    return {
        kind: float(width) for kind, width in re.findall(r'class="([^"]*)" x="[^"]*" width="([^"]*)"', svg)
    }


def test_the_contents_have_every_part_and_the_words_are_the_glossarys(document, errors):
    text = page(document, errors)
    links = re.findall(r'<a href="#(\w+)">', text)
    assert links == re.findall(r'<h2 id="(\w+)">', text)
    assert len(links) == text.count("<h2")
    for word, meaning in meanings(WORDS).items():
        assert f"<dt>{word}</dt><dd>{escape(meaning)}</dd>" in text


def test_every_table_has_headers_and_every_picture_a_text(document, errors):
    text = page(document, errors)
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        head, body = re.search(r"<thead>(.*?)</thead>.*?<tbody>(.*?)</tbody>", table, re.DOTALL).groups()
        assert head.count("scope=") == head.count("<th") > 0
        rows = [row for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL) if 'colspan="10">none' not in row]
        assert all('scope="row"' in row for row in rows)
    assert len(re.findall(r'<svg[^>]*role="img"[^>]*aria-label="[^"]+"', text)) == text.count("<svg")


def test_words_can_be_read_on_what_lies_behind_them():
    """The contrast that WCAG 2.1 asks of text, light and dark."""
    css = (Path(html.__file__).parent / html.TEMPLATE).read_text()
    for colours in re.findall(r":root \{(.*?)\}", css, re.DOTALL):
        known = dict(re.findall(r"--(\w+): (#\w{6});", colours))
        for name in ("ink", "soft", "offline", "online", "good", "warn", "bad"):
            for behind in ("paper", "card"):
                assert contrast(known[name], known[behind]) >= 4.5, (name, behind)
        assert {f"k{i}" for i in range(len(html.KINDS))} <= set(known)


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_a_page_says_what_the_alternatives_cost(document):
    text = " ".join(Reader(page(document)).text)
    assert "as chosen" in text
    for row in document["why"]["products"]:
        assert size(row["chosen"]["bytes"]) in text
        assert all(name in text for name in row["instead"])
    for ots in document["why"]["ots"]:
        assert f"{ots['count']:,} correlated OTs" in text


def test_a_page_without_a_simulation_has_no_errors(document):
    assert "Error by layer" not in page(document)


def test_nothing_is_fetched_and_nothing_runs(document, errors):
    text = page(document, errors)
    reader = Reader(text)
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    given = {name for _, attributes in reader.tags for name in attributes}
    assert not {name for name in given if name.startswith("on")} | (given & {"src", "srcset"})
    assert all(attributes.get("href", "#").startswith("#") for _, attributes in reader.tags)
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_hostile_names_stay_text(document):
    plan = tiny_plan(HOSTILE)
    steps = tuple(msgspec.structs.replace(s, name=HOSTILE) if s.name == "/mul" else s for s in plan.steps)
    plan = msgspec.structs.replace(
        plan, steps=steps, profile=HOSTILE, options=Options(dims={HOSTILE: 2}, byte_price=1e-7)
    )
    inputs = tuple(msgspec.structs.replace(i, name=HOSTILE) for i in plan.inputs)
    bad = summary(msgspec.structs.replace(plan, inputs=inputs))
    rows = [{"name": HOSTILE, "max_error": 1.0, "relative": 1.0}]
    reader = Reader(page(bad, rows))
    assert {tag for tag, _ in reader.tags} == {tag for tag, _ in Reader(page(document, rows)).tags}
    assert "".join(reader.text).count("<script>alert(1)</script>") >= 4


def test_a_document_that_lacks_something_is_a_fault(document):
    with pytest.raises(KeyError):
        page({k: v for k, v in document.items() if k != "steps"})
    with pytest.raises(Exception, match="who_sees_what"):
        page({k: v for k, v in document.items() if k != "who_sees_what"})


def _steps(*rows):
    cost = {"bytes": 1, "flights": 1, "seconds": 1.0, "work": 0.75}
    return [
        {"step": f"{i:04d} {kind} {name}".strip(), "number": f"{i:04d}", "kind": kind, "reads": reads,
         "offline": cost, "online": cost}
        for i, (kind, name, reads) in enumerate(rows)
    ]  # fmt: skip


def test_steps_without_a_name_belong_to_the_first_that_reads_them():
    steps = _steps(
        ("Encode", "", ()), ("Weight", "a.b.bias", ()), ("Add", "/a/b/Add", (0, 1)),
        ("Sum", "", (2,)), ("Rescale", "", (3,)), ("Spline", "/a/c/Exp", (4,)), ("Add", "/a/d", (3, 5)),
    )  # fmt: skip
    assert _places(steps) == ["/a/b/Add", "/a/b/Add", "/a/b/Add", "/a/c/Exp", "/a/c/Exp", "/a/c/Exp", "/a/d"]


@pytest.mark.parametrize("named", [(), (23,), range(24)], ids=str)
def test_a_plan_need_not_name_its_steps(named):
    """Nor those that read each other."""
    plan = tiny_plan()
    program = [
        step if i in named else msgspec.structs.replace(step, name="") for i, step in enumerate(plan.steps)
    ]
    Reader(page(summary(msgspec.structs.replace(plan, steps=tuple(program)))))


def test_the_tree_adds_up_and_joins_what_has_one_part():
    steps = _steps(
        ("Linear", "/m/e/l.0/q/MatMul", ()), ("Linear", "/m/e/l.0/k/MatMul", ()),
        ("Add", "/m/e/l.1/Add", (0, 1)), ("Add", "flat", (2,)),
    )  # fmt: skip
    for row, place in zip(steps, _places(steps), strict=True):
        row["place"] = place
    tree = _tree(steps, {"/m/e/l.0/q/MatMul": 0.3, "/m/e/l.0/k/MatMul": 0.1, "flat": 0.02})
    assert (tree.count, tree.offline.bytes, tree.online.flights) == (4, 4, 4)
    assert (tree.offline.work, tree.offline.link) == (3.0, 1.0)
    assert tree.error == 0.02  # the output's, not the worst one's
    assert [part.name for part in tree.parts.values()] == ["m/e", "flat"]
    inner = tree.parts["m"].parts
    assert [(part.name, part.count, part.error) for part in inner.values()] == [
        ("l.0", 2, 0.1),
        ("l.1/Add", 1, None),
    ]
    assert [part.name for part in _nodes(tree, 3)] == ["m/e/l.0", "m/e/l.1/Add", "flat"]


def test_names_that_have_dots_alone_are_parted_there():
    names = ("m.l.0.q", "m.l.0.k", "m.l.1.q", "/m/l.2/q")
    steps = _steps(*(("Linear", name, ()) for name in names))
    for row in steps:
        row["place"] = row["step"].split(" ", 2)[2]
    parts = _tree(steps, {}).parts["m"].parts
    assert [part.name for part in parts.values()] == ["l", "l.2/q"]
    assert [part.name for part in parts["l"].parts.values()] == ["0", "1/q"]


def test_layers_are_what_no_single_one_of_them_is_most_of():
    """Encoder and embeddings are opened as far as one of them is more than all others."""
    rows = [("Linear", f"/m/enc/l.{i}/{part}/MatMul", ()) for i in range(3) for part in ("q", "k")]
    steps = _steps(("Linear", "/m/emb/words", ()), ("Linear", "/m/emb/norm", ()), *rows, ("Add", "out", ()))
    for row in steps:
        row["place"] = row["step"].split(" ", 2)[2]
    tree = _tree(steps, {})
    assert [part.name for part in _layers(tree)] == ["m/emb", *(f"m/enc/l.{i}" for i in range(3)), "out"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (size(0), "–"), (size(999), "999 B"), (size(1234), "1.23 kB"), (size(56_700_000), "56.7 MB"),
        (duration(0), "–"), (duration(2e-5), "20.0 µs"), (duration(0.0123), "12.3 ms"),
        (duration(0.9999), "1.00 s"), (duration(12.34), "12.3 s"), (duration(4321), "4,321 s"),
        (percent(1, 4), "25.00%"), (percent(1, 0), "0.00%"), (percent(5, 4), "100.00%"),
        (size(220_000), "220 kB"), (rate(1.25e9), "10.0 Gbit/s"), (rate(6.25e6), "50.0 Mbit/s"),
        (short("a/bb/ccc", 8), "a/bb/ccc"), (short("aa/bb/ccc", 8), "…/bb/ccc"),
        (short("a/bb/cccc", 8), "…/cccc"), (short("a/" + "c" * 20, 8), "…" + "c" * 7),
        (level(1e-5), 0.0), (level(0.1), pytest.approx(4)), (level(0), 0.0),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(written, wanted):
    assert written == wanted


def test_the_summary_is_json(document):
    assert json.loads(json.dumps(document))["network"]["name"] == "wan"
