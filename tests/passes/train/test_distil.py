"""What a student comes to have of its teacher."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tunable import classifier, decoder, examples, friendly  # noqa: E402

from ppc.frontend.ir import ops, text  # noqa: E402
from ppc.frontend.ir.graph import Graph, Op, rebuild, walk  # noqa: E402
from ppc.frontend.ir.reference import evaluate_all  # noqa: E402
from ppc.passes.train.answers import answers  # noqa: E402
from ppc.passes.train.distil import ACTIVATIONS, STATES, Distillation, Target, distil, pairs  # noqa: E402

TEACHERS = {"encoder": classifier, "decoder": decoder}
STEPS = Distillation(steps=40, batch=16, rate=5e-3)


def apart(teacher: Graph, student: Graph) -> float:
    """Mean square of what answers to other prompts differ by, in units of the teacher's variance."""
    unseen = examples(teacher, 32, seed=7)
    y, x = (answers(graph, unseen)["logits"] for graph in (teacher, student))
    return float(np.mean((x - y) ** 2) / np.var(y))


@pytest.mark.long
@pytest.mark.parametrize("model", TEACHERS)
@pytest.mark.parametrize("target", ["logits", "vectors"])
def test_a_student_comes_nearer(model: str, target: Target) -> None:
    teacher = TEACHERS[model]()
    student = friendly(teacher)
    data, held = examples(teacher), examples(teacher, 8, seed=2)
    tuned = distil(teacher, student, data, held, replace(STEPS, target=target))
    assert apart(teacher, tuned) < 0.7 * apart(teacher, student)
    assert text.show(tuned) == text.show(student)


def test_short_texts_are_distilled_at_their_length(caplog: pytest.LogCaptureFixture) -> None:
    """Where teacher and student are the same there, and nowhere else; the student is as long as it was."""
    caplog.set_level("INFO")
    teacher = classifier()
    student = friendly(teacher)
    data = examples(teacher)
    data = replace(data, tokens=data.mask.sum(axis=(1, 2)))
    short, strange = classifier(tokens=3), classifier(seed=1, tokens=4)
    shorter = {3: (short, friendly(short)), 4: (short, friendly(strange))}
    tuned = distil(teacher, student, data, data.at(np.arange(8)), replace(STEPS, steps=20), shorter=shorter)
    assert "short texts at 3 tokens" in caplog.text
    assert text.show(tuned) == text.show(student)
    assert apart(teacher, tuned) < apart(teacher, student)


def test_every_replaced_value_has_its_pair() -> None:
    teacher = classifier()
    student = friendly(teacher)
    for kinds, count in ((STATES, 3), (ACTIVATIONS, 1), ((ops.Softmax,), 1)):
        found = pairs(teacher, student, kinds)
        assert len(found) == count
        assert all(type(op) in kinds and type(other) not in kinds for op, other in found)
        assert all(op.name == other.name for op, other in found)


def test_norms_without_a_name_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    teacher = rebuild(classifier(), lambda op: op.named("") if isinstance(op, ops.LayerNorm) else op)
    data, held = examples(teacher), examples(teacher, 8, seed=2)
    distil(teacher, friendly(teacher), data, held, replace(STEPS, steps=1))
    assert "no norm of the model keeps its name" in caplog.text


@pytest.mark.long
def test_hidden_states_count() -> None:
    """Trained on them alone, they come nearer, and so do answers."""
    teacher = classifier()
    student = friendly(teacher)
    data, held = examples(teacher), examples(teacher, 8, seed=2)
    alone = replace(STEPS, answers=0.0, range=0.0)
    tuned = distil(teacher, student, data, held, alone)
    assert apart(teacher, tuned) < apart(teacher, student)
    nothing = distil(teacher, student, data, held, replace(alone, hidden=0.0, decay=0.0))
    assert apart(teacher, nothing) == apart(teacher, student)


@pytest.mark.long
def test_values_stay_within_reach() -> None:
    """A student whose norms give ten times too much comes back, by the penalty alone."""
    teacher = classifier()
    far = replace_norms(teacher, 4.0)
    data, held = examples(teacher), examples(teacher, 8, seed=2)
    alone = replace(STEPS, hidden=0.0, answers=0.0, rate=2e-1)
    before, after = (largest(teacher, graph) for graph in (far, distil(teacher, far, data, held, alone)))
    assert before > 3
    assert after < 2


def replace_norms(graph: Graph, factor: float) -> Graph:
    def louder(op: Op) -> Op:
        if not isinstance(op, ops.LayerNorm):
            return op
        return replace(op, gamma=replace(op.gamma, value=op.gamma.value * np.float32(factor)))

    return rebuild(graph, louder)


def largest(teacher: Graph, student: Graph) -> float:
    """How much further the student's norms go than the teacher's."""
    feeds = {name: value[0] for name, value in examples(teacher, 1, seed=9).feeds.items()}
    values, theirs = evaluate_all(student, feeds), evaluate_all(teacher, feeds)
    kept = feeds["attention_mask"][0] == 1
    return max(
        float(np.abs(values[other][0, kept]).max() / np.abs(theirs[op][0, kept]).max())
        for op, other in pairs(teacher, student, STATES)
    )


@pytest.mark.long
def test_labels_count_where_they_are_given() -> None:
    teacher = classifier()
    data, held = examples(teacher, 256), examples(teacher, 8, seed=2)
    alone = replace(STEPS, hidden=0.0, answers=0.0, range=0.0, labels=1.0, rate=1e-2, steps=100)
    tuned = distil(teacher, friendly(teacher), data, held, alone)
    unseen = examples(teacher, 64, seed=7)
    assert np.mean(answers(tuned, unseen)["logits"].argmax(-1)[:, 0] == unseen.labels) > 0.7
    assert np.mean(answers(teacher, unseen)["logits"].argmax(-1)[:, 0] == unseen.labels) < 0.6


def test_attention_maps_count() -> None:
    teacher = decoder()
    student = friendly(teacher)
    data, held = examples(teacher), examples(teacher, 8, seed=2)
    alone = replace(STEPS, hidden=0.0, answers=0.0, range=0.0, attention=1.0)
    tuned = distil(teacher, student, data, held, alone)
    feeds = {name: value[0] for name, value in data.feeds.items()}

    def error(graph: Graph) -> float:
        ((op, other),) = pairs(teacher, graph, (ops.Softmax,))
        return float(np.mean((evaluate_all(graph, feeds)[other] - evaluate_all(teacher, feeds)[op]) ** 2))

    assert error(tuned) < 0.7 * error(student)


def test_a_seed_gives_the_same_bits() -> None:
    teacher = classifier()
    student = friendly(teacher)
    data, held = examples(teacher), examples(teacher, 8, seed=2)

    def weights(seed: int) -> list[bytes]:
        tuned = distil(teacher, student, data, held, replace(STEPS, steps=4, seed=seed))
        return [op.value.tobytes() for op in walk(tuned) if isinstance(op, ops.Const)]

    assert weights(0) == weights(0) != weights(1)


@pytest.mark.parametrize("tokens", [np.full(64, 1), None])
def test_padding_of_a_model_without_a_mask_does_not_count(tokens: np.ndarray | None) -> None:
    """Where the first token alone counts, others after it change nothing."""
    teacher = decoder()
    student = friendly(teacher)
    data, held = replace(examples(teacher), tokens=tokens), examples(teacher, 8, seed=2)
    alone = {name: np.where(np.arange(6) < 1, x, 0) for name, x in data.feeds.items()}
    found = [
        distil(teacher, student, each, held, replace(STEPS, steps=3))
        for each in (data, replace(data, feeds=alone))
    ]
    a, b = (answers(each, held)["logits"] for each in found)
    assert np.allclose(a, b, rtol=1e-3, atol=1e-3) == (tokens is not None)
