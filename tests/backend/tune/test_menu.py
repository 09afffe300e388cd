"""Units are the operators of a kind in a layer, and any of them can be replaced without the others."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from tunable import classifier, examples

from ppc import passes
from ppc.backend.tune.menu import Menu, NothingToReplace, layer_of, state_of
from ppc.frontend.ir import ops
from ppc.frontend.ir.constant import with_values
from ppc.frontend.ir.graph import Graph, walk
from ppc.frontend.ir.reference import evaluate
from ppc.frontend.ir.text import show
from ppc.passes.apply_profile import apply_profile
from ppc.passes.friendly import SUBSTITUTIONS
from ppc.passes.profile import Profile, Rule
from ppc.passes.substitution import Substitution

FEEDS = [{name: x[i] for name, x in examples(classifier()).feeds.items()} for i in range(4)]

HELD = [each for each in SUBSTITUTIONS if each.op in (ops.LayerNorm, ops.Softmax, ops.Gelu)]
"""Those of operators that the model has."""


@pytest.fixture(scope="module")
def menu() -> Menu:
    return Menu.of(classifier(), passes.find_profile("friendly"), FEEDS)


def kinds(graph: Graph) -> dict[str, int]:
    wanted = (ops.LayerNorm, ops.Softmax, ops.Gelu)
    names = [type(op).__name__ for op in walk(graph) if isinstance(op, wanted)]
    return {name: names.count(name) for name in names}


def test_units_are_kinds_by_layer(menu: Menu) -> None:
    assert [(each.kind, each.layer, len(each.ops)) for each in menu.units] == [
        ("LayerNorm", "embeddings", 1),
        ("Softmax", "layer.0", 1),
        ("LayerNorm", "layer.0", 2),
        ("Gelu", "layer.0", 1),
    ]


def test_all_are_what_the_profile_makes(menu: Menu) -> None:
    wanted = apply_profile(menu.teacher, passes.find_profile("friendly"), FEEDS).graph
    assert show(menu.graph(menu.first)) == show(wanted)
    found = [op.value for op in walk(menu.graph(menu.first)) if isinstance(op, ops.Const)]
    expected = [op.value for op in walk(wanted) if isinstance(op, ops.Const)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_none_is_the_teacher(menu: Menu) -> None:
    assert menu.graph(()) is not menu.teacher
    assert list(menu.graph(()).outputs.values()) == list(menu.teacher.outputs.values())


def test_one_leaves_the_others(menu: Menu) -> None:
    whole = {"LayerNorm": 3, "Softmax": 1, "Gelu": 1}
    for unit in menu.units:
        left = whole[unit.kind] - len(unit.ops)
        assert kinds(menu.graph(unit.rungs)) == {k: n for k, n in {**whole, unit.kind: left}.items() if n}


@pytest.mark.parametrize("taken", HELD, ids=lambda each: f"{each.op.__name__} {each.name}")
def test_one_is_what_it_would_be_by_itself(taken: Substitution) -> None:
    """With the constants of all, whatever a substitution reads beneath its operand."""
    friendly = passes.find_profile("friendly")
    profile = Profile("all", (*friendly.rules, Rule(taken.op, taken, settings=taken.settings)))
    teacher = classifier()
    done = apply_profile(teacher, profile, FEEDS)
    alone = Profile("alone", (Rule(taken.op, taken, settings=taken.settings),))
    fitted = [x for op, x in zip(done.chosen, done.fitted, strict=True) if isinstance(op, taken.op)]
    wanted = apply_profile(teacher, alone, FEEDS, fitted).graph
    found = Menu.of(teacher, profile, FEEDS)
    graph = found.graph([each for each in found.first if each.unit.kind == taken.op.__name__])
    assert show(graph) == show(wanted)
    assert evaluate(graph, FEEDS[0])["logits"].tolist() == evaluate(wanted, FEEDS[0])["logits"].tolist()


def test_weights_are_at_hand_in_another_graph(menu: Menu) -> None:
    """Tuned with all replaced, they are those of the graph in which some are not."""
    graph = menu.graph(menu.first)
    moved = {op: op.value + 1 for op in walk(graph) if isinstance(op, ops.Const) and op.secret}
    state = state_of(graph, with_values(graph, moved))
    assert state.keys() == moved.keys()
    some = menu.graph(menu.first[1:])
    tuned = {op.name: op.value for op in walk(with_values(some, state)) if isinstance(op, ops.Const)}
    begun = {op.name: op.value for op in walk(some) if isinstance(op, ops.Const)}
    np.testing.assert_array_equal(tuned["head.bias"], begun["head.bias"] + 1)
    np.testing.assert_array_equal(
        tuned["embeddings/norm.gamma"], begun["embeddings/norm.gamma"]
    )  # exact again
    assert np.isfinite(evaluate(with_values(some, state), FEEDS[0])["logits"]).all()


def test_a_profile_that_replaces_nothing() -> None:
    with pytest.raises(NothingToReplace, match="profile 'exact' replaces nothing"):
        Menu.of(classifier(), passes.find_profile("exact"), FEEDS)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("/model/model.0/encoder/layer.11/attention/self/Softmax_output_0", "model.0.encoder.layer.11"),
        ("model.0.encoder.layer.11.output.LayerNorm.weight", "model.0.encoder.layer.11"),
        ("layer.0/norm2.gamma", "layer.0"),
        ("block3/norm1.gamma", "block3"),
        ("embeddings/norm.gamma", "embeddings"),
        ("", ""),
    ],
)  # fmt: skip
def test_layers_by_name(name: str, layer: str) -> None:
    assert layer_of(name) == layer


def test_a_unit_alone_is_fitted_to_what_it_reads_in_the_teacher(menu: Menu) -> None:
    """As a profile that names nothing else fits it; among others it is fitted to what they leave."""
    rung, unit = menu.first[2], menu.units[2]
    assert (unit.kind, unit.layer) == ("LayerNorm", "layer.0")
    wanted = apply_profile(menu.teacher, passes.find_profile("friendly"), FEEDS, only=unit.ops).graph
    found = menu.alone(rung)
    assert show(found) == show(wanted)
    values = [evaluate(graph, FEEDS[0])["logits"] for graph in (found, wanted, menu.graph([rung]))]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(values[2], values[1], rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def ladders() -> Menu:
    return Menu.of(classifier(), passes.find_profile("menu"), FEEDS)


def test_a_unit_has_a_rung_for_each_variant(ladders: Menu) -> None:
    assert [[str(each) for each in unit.rungs] for unit in ladders.units] == [
        ["LayerNorm of embeddings by affine", "LayerNorm of embeddings by centred_affine"],
        ["Softmax of layer.0 by relu_mean", "Softmax of layer.0 by relu_sum"],
        ["LayerNorm of layer.0 by affine", "LayerNorm of layer.0 by centred_affine"],
        ["Gelu of layer.0 by relu"],
    ]
    assert [rung.unit for rung in ladders.first] == list(ladders.units)


def test_units_on_their_last_rungs_are_what_a_profile_of_these_makes(ladders: Menu) -> None:
    """With constants fitted among others on that rung; a unit of one rung has those that it had."""
    profile = passes.find_profile("menu")
    first, second = (apply_profile(ladders.teacher, profile.at(place), FEEDS) for place in (0, 1))
    both = zip(second.chosen, first.fitted, second.fitted, strict=True)
    fitted = [before if isinstance(op, ops.Gelu) else after for op, before, after in both]
    wanted = apply_profile(ladders.teacher, profile.at(1), FEEDS, fitted).graph
    found = ladders.graph([unit.rungs[-1] for unit in ladders.units])
    assert show(found) == show(wanted)
    assert evaluate(found, FEEDS[0])["logits"].tolist() == evaluate(wanted, FEEDS[0])["logits"].tolist()


def test_a_step_of_one_unit_leaves_the_constants_of_the_others(ladders: Menu) -> None:
    def constants(graph: Graph) -> set[ops.Const]:
        return {op for op in walk(graph) if isinstance(op, ops.Const)}

    first, softmax = ladders.first, ladders.units[1]
    before = constants(ladders.graph(first))
    after = constants(
        ladders.graph([each if each.unit is not softmax else softmax.rungs[1] for each in first])
    )
    assert len([op for op in before - after if op.secret]) == 2  # t and c of relu_mean
    assert len([op for op in after - before if op.secret]) == 1  # t of relu_sum


def test_a_unit_alone_on_its_second_rung(ladders: Menu) -> None:
    rung = ladders.units[1].rungs[1]
    assert (rung.variant, rung.formula[:3]) == ("relu_sum", "max")
    only = apply_profile(ladders.teacher, passes.find_profile("menu").at(1), FEEDS, only=rung.unit.ops).graph
    assert show(ladders.alone(rung)) == show(only)
    assert show(ladders.alone(rung)) != show(ladders.alone(rung.unit.rungs[0]))
