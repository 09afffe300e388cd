from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model

from ppc.frontend.errors import BatchesDiffer, DynamicAxis, UnknownDim
from ppc.frontend.ir.graph import Input
from ppc.frontend.read.axes import OpenAxis, axis_lines
from ppc.frontend.read.load import load, load_told


def shapes(
    axes: dict[str, Sequence[int | str | None]], *, seq_len: int | None = None, **dims: int
) -> dict[str, tuple[int, ...]]:
    """Input shapes of a model with these axes; a dot in a dim's name is written __."""
    feeds = {name: np.zeros([1] * len(shape), np.float32) for name, shape in axes.items()}
    nodes = [helper.make_node("Neg", [name], [f"{name}_out"]) for name in axes]
    proto = model(nodes, feeds, [f"{name}_out" for name in axes], axes=axes)
    given = {key.replace("__", "."): value for key, value in dims.items()}
    inputs: tuple[Input, ...] = load(proto, seq_len=seq_len, dims=given).inputs
    return {each.name: each.shape for each in inputs}


@pytest.mark.parametrize("batch", ["batch_size", "batch", "N", "bs"])
@pytest.mark.parametrize("sequence", ["sequence_length", "seq_len", "seq", "max_length"])
def test_batch_is_one_and_sequences_have_the_length_given(batch: str, sequence: str) -> None:
    assert shapes({"x": [batch, sequence, 3]}, seq_len=7) == {"x": (1, 7, 3)}


def test_a_dim_goes_before_the_defaults() -> None:
    found = shapes({"x": ["batch", "seq"], "y": ["seq"]}, seq_len=7, batch=2, seq=5, y__0=7)
    assert found == {"x": (2, 5), "y": (7,)}


@pytest.mark.parametrize("name", [None, "s41", "unk__7", "x_dynamic_axes_1", "input_ids_dim_1"])
def test_made_up_names_are_read_by_their_place(name: str | None) -> None:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [name, name])
    proto = model([helper.make_node("Identity", ["ids"], ["y"])], {}, ["y"])
    proto.graph.input.append(ids)
    assert load(proto, seq_len=7).inputs[0].shape == (1, 7)
    with pytest.raises(DynamicAxis, match=r"ids, axis 1, .* give --seq-len VALUE, the prompt's length"):
        load(proto)
    assert shapes({"pixels": [name, 3]}) == {"pixels": (1, 3)}
    with pytest.raises(DynamicAxis, match="x, axis 1"):
        shapes({"x": [name, name, 3], "y": ["seq"]}, seq_len=7)


def test_axes_that_are_left_are_all_named_with_the_remedy() -> None:
    with pytest.raises(DynamicAxis) as caught:
        shapes({"x": ["batch", "seq", None], "mask": ["batch", "height"]})
    assert str(caught.value).splitlines()[1:] == [
        "  input x, axis 1, called 'seq': give --seq-len VALUE, the prompt's length, or --dim seq=VALUE",
        "  input x, axis 2, without a name: give --dim x.2=VALUE",
        "  input mask, axis 1, called 'height': give --dim height=VALUE",
    ]
    assert caught.value.exit_status == 2
    assert shapes({"x": ["batch", "seq", None]}, seq=4, x__2=5) == {"x": (1, 4, 5)}


def test_a_cache_is_empty_and_a_sum_of_axes_is_one_of_sizes() -> None:
    axes = {"x": ["batch", "seq"], "mask": ["batch", "past_len + seq"], "past": ["batch", 2, "past_len", 3]}
    assert shapes(axes, seq_len=7) == {"x": (1, 7), "mask": (1, 7)}
    assert shapes(axes, seq_len=7, past_len=4)["past"] == (1, 2, 4, 3)
    assert shapes(axes, seq_len=7, past_len=4)["mask"] == (1, 11)
    assert shapes({"x": ["seq"], "y": ["seq + 1"]}, seq_len=7)["y"] == (8,)
    with pytest.raises(DynamicAxis, match=r"'width \+ 1'"):
        shapes({"x": ["width + 1"]})


def test_a_dim_that_no_axis_takes() -> None:
    with pytest.raises(
        UnknownDim, match=r"--dim heigth=3: no input has such an axis.*leaves open: batch, height"
    ):
        shapes({"x": ["batch", "height"]}, heigth=3, height=3)


def test_a_wrong_name_for_the_prompts_length_is_told_the_right_one() -> None:
    """Before the axis is, which is open for want of it."""
    with pytest.raises(UnknownDim, match=r"seqlen=8: .*leaves open: batch, sequence; sequence is the pr"):
        shapes({"x": ["batch", "sequence"]}, seqlen=8)
    with pytest.raises(UnknownDim, match=r"leaves open: batch, sequence$"):
        shapes({"x": ["batch", "sequence"]}, seq_len=8, seqlen=8)


def test_a_sequence_length_that_no_axis_takes() -> None:
    with pytest.raises(UnknownDim, match=r"--seq-len 7: no axis is a sequence's length; .*batch"):
        shapes({"x": ["batch", 32]}, seq_len=7)
    assert shapes({"x": ["batch", 32]}, seq_len=32) == {"x": (1, 32)}


def test_a_fixed_axis_stays() -> None:
    with pytest.raises(UnknownDim, match="the model fixes that axis at 32"):
        shapes({"x": ["batch", 32]}, x__1=16)


@pytest.mark.parametrize("sizes", [{"seq_len": 0}, {"seq": 0}, {"seq": -3}])
def test_sizes_are_positive(sizes: dict[str, int]) -> None:
    with pytest.raises(UnknownDim, match="at least one element"):
        shapes({"x": ["batch", "seq"]}, **sizes)


def test_an_input_of_strings_is_refused() -> None:
    value = helper.make_tensor_value_info("text", TensorProto.STRING, [1])
    proto = model([helper.make_node("Neg", ["text"], ["y"])], {}, ["y"])
    proto.graph.input.append(value)
    with pytest.raises(UnknownDim, match="input text is no tensor of numbers"):
        load(proto)


def test_initializers_listed_as_inputs_are_none() -> None:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": np.zeros(2, np.float32)}, ["y"])
    proto.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0]))
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    assert [each.name for each in load(proto).inputs] == ["x"]


# ---- a cache's length and one more, batches, what each axis became, inputs that are not read


@pytest.mark.parametrize("mask", ["past_sequence_length + 1", "past_len+1", "1 + past_length"])
@pytest.mark.parametrize("order", [1, -1])
def test_an_empty_cache_and_one_more_token_is_the_prompt(mask: str, order: int) -> None:
    axes = dict([("ids", ["batch", "sequence"]), ("mask", ["batch", mask])][::order])
    assert shapes(axes, seq_len=7) == {"ids": (1, 7), "mask": (1, 7)}
    past = mask.replace(" ", "").replace("1+", "").replace("+1", "")
    assert shapes(axes, seq_len=7, **{past: 4})["mask"] == (1, 5)


def test_where_one_token_comes_at_a_time_it_is_one() -> None:
    assert shapes({"ids": ["batch", 1], "mask": ["batch", "past_len + 1"]})["mask"] == (1, 1)
    assert shapes({"ids": ["batch", "seq"], "mask": ["batch", "past_len + 2"]}, seq_len=7)["mask"] == (1, 2)


def tokens(**axes: Sequence[int | str | None]) -> onnx.ModelProto:
    """A model that reads matrices of integers."""
    feeds = {name: np.zeros((1, 1), np.int64) for name in axes}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in axes]
    return model(nodes, feeds, [f"{name}_out" for name in axes], axes=axes)


@pytest.mark.parametrize(
    ("axes", "dims", "words"),
    [
        (
            {"ids": ["batch", "seq"], "mask": ["batch_size", "seq"]},
            {"batch_size": 2},
            "ids has 1, mask has 2",
        ),
        ({"ids": [2, "seq"], "mask": ["batch", "seq"]}, {}, "mask has 1; give --dim batch=VALUE"),
        ({"ids": ["batch", "seq"], "mask": ["batch", "seq"]}, {"mask.0": 3}, "ids has 1, mask has 3"),
        ({"ids": [None, "seq"], "mask": ["batch", "seq"]}, {"ids.0": 3}, "ids has 3, mask has 1"),
        ({"ids": [2, "seq"], "mask": [3, "seq"]}, {}, "ids has 2, mask has 3$"),
    ],
)
def test_inputs_of_one_batch_that_disagree_are_refused(axes, dims, words: str) -> None:
    with pytest.raises(BatchesDiffer, match=words):
        load(tokens(**axes), seq_len=7, dims=dims)


@pytest.mark.parametrize(
    ("axes", "dims"),
    [
        ({"ids": ["batch", "seq"], "mask": ["batch_size", "seq"]}, {"batch": 2, "batch_size": 2}),
        ({"ids": ["batch", "seq"], "places": [1, "seq"]}, {"batch": 2}),
        ({"ids": [2, "seq"], "mask": ["batch", "seq"]}, {"batch": 2}),
    ],
)
def test_batches_that_agree_are_not(axes, dims) -> None:
    assert load(tokens(**axes), seq_len=7, dims=dims).inputs[0].shape == (2, 7)


def test_prompts_have_a_name_of_their_own() -> None:
    """Whatever the model calls their axis, or where it calls it nothing."""
    proto = tokens(ids=["N", "seq"], mask=["batch_size", "seq"], kinds=[None, "seq"])
    told = load_told(proto, seq_len=7, dims={"batch": 3})
    assert [each.shape for each in told.graph.inputs] == [(3, 7)] * 3
    assert {each.why for each in told.axes if each.axis == 0} == {"--dim batch: prompts at a time"}


def test_a_model_of_one_prompt_takes_no_more() -> None:
    with pytest.raises(UnknownDim, match=r"--dim batch=3: no input has such an axis"):
        load_told(tokens(ids=[1, "seq"]), seq_len=7, dims={"batch": 3})


def test_what_each_open_axis_became_is_told() -> None:
    proto = tokens(ids=["batch", "seq"], mask=["batch", "past + 1"], kinds=[None, "width"], fixed=[1, 3])
    axes = load_told(proto, seq_len=7, dims={"width": 5}).axes
    assert [(each.input, each.axis, each.name, each.size) for each in axes] == [
        ("ids", 0, "batch", 1), ("ids", 1, "seq", 7), ("mask", 0, "batch", 1), ("mask", 1, "past + 1", 7),
        ("kinds", 0, "", 1), ("kinds", 1, "width", 5),
    ]  # fmt: skip
    assert axis_lines(axes) == [
        "axis batch = 1, one prompt at a time: ids.0, mask.0",
        "axis seq = 7, --seq-len: ids.1",
        "axis past + 1 = 7, --seq-len: the cache is empty, and the whole prompt comes at once: mask.1",
        "axis kinds.0 = 1, a first axis without a name",
        "axis width = 5, --dim: kinds.1",
    ]


def test_an_input_that_no_chosen_output_reads_is_not_asked_for() -> None:
    proto = tokens(ids=["batch", "seq"], q=["rows", "columns"])
    with pytest.raises(DynamicAxis, match="rows"):
        load(proto, seq_len=7)
    assert [each.name for each in load(proto, seq_len=7, outputs=["ids_out"]).inputs] == ["ids"]
    assert load(proto, seq_len=7, outputs=["ids_out"], dims={"rows": 3}).inputs[0].shape == (1, 7)
    with pytest.raises(UnknownDim, match="rowz=3"):
        load(proto, seq_len=7, outputs=["ids_out"], dims={"rowz": 3})


def test_nor_is_one_of_which_only_the_shape_is_read() -> None:
    """The shape is needed to compile, the values are not to run."""
    nodes = [helper.make_node("Shape", ["q"], ["s"]), helper.make_node("Expand", ["x", "s"], ["y"])]
    feeds = {"x": np.zeros((1, 3), np.float32), "q": np.zeros((2, 3), np.float32)}
    graph = load(model(nodes, feeds, ["y"]))
    assert [each.name for each in graph.inputs] == ["x"]
    assert graph.outputs["y"].type.shape == (2, 3)


def test_of_many_places_some_are_named():
    axes = [OpenAxis(f"past.{i}", 2, "past", 0, "an empty cache") for i in range(7)]
    assert axis_lines(axes) == [
        "axis past = 0, an empty cache: past.0.2, past.1.2, past.2.2, past.3.2 and 3 more"
    ]
