from collections.abc import Sequence

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import model

from ppc.frontend.errors import DynamicAxis, UnknownDim
from ppc.frontend.ir.graph import Input
from ppc.frontend.read.load import load


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
    with pytest.raises(DynamicAxis, match="ids, axis 1"):
        load(proto)
    assert shapes({"pixels": [name, 3]}) == {"pixels": (1, 3)}
    with pytest.raises(DynamicAxis, match="x, axis 1"):
        shapes({"x": [name, name, 3], "y": ["seq"]}, seq_len=7)


def test_axes_that_are_left_are_all_named_with_the_remedy() -> None:
    with pytest.raises(DynamicAxis) as caught:
        shapes({"x": ["batch", "seq", None], "mask": ["batch", "height"]})
    assert str(caught.value).splitlines()[1:] == [
        "  input x, axis 1, called 'seq': give --dim seq=VALUE",
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
    proto = model([helper.make_node("Neg", ["x"], ["y"])], {"x": np.zeros(1, np.float32)}, ["y"])
    proto.graph.input.append(value)
    with pytest.raises(UnknownDim, match="input text is no tensor of numbers"):
        load(proto)


def test_initializers_listed_as_inputs_are_none() -> None:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": np.zeros(2, np.float32)}, ["y"])
    proto.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0]))
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    assert [each.name for each in load(proto).inputs] == ["x"]
