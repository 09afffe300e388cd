"""What can be wrong with a model or with how it is asked for, and the exit status the command line gives it.

FrontendError                3
├── UsageError               2
│   ├── NotOnnx                  the file is no ONNX model, or a damaged one
│   ├── MissingExternalData      weights kept in a file of their own, which is not there
│   ├── DynamicAxis              an axis of an input has no size
│   ├── UnknownDim               a size for an axis that no input has
│   ├── BatchesDiffer            inputs that go together, of several numbers of prompts
│   ├── UnknownOutput            an output, or an inner tensor, that the model does not have
│   └── NotRun                   ONNX Runtime does not run the model, or not on these inputs
├── NotFinite                3   a weight is NaN or infinite
├── UnsupportedOp            3   one operator: where, which, why, what to do
│   └── ControlFlow              If, Loop or Scan that depends on data
└── UnsupportedModel         3   all of them at once
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ppc.runtime.base.errors import Error


class FrontendError(Error):
    """Base; the message is for the user and holds no weight's value."""

    exit_status = 3


class UsageError(FrontendError):
    exit_status = 2


class NotOnnx(UsageError):
    pass


class MissingExternalData(UsageError):
    def __init__(self, tensor: str, where: str) -> None:
        super().__init__(
            f"the weights of {tensor} are kept in {where}, which is not there; put it beside the model"
        )


class DynamicAxis(UsageError):
    """``axes``: (input, axis, the axis's name or "", whether it is a prompt's length) for each left open."""

    def __init__(self, axes: Sequence[tuple[str, int, str, bool]]) -> None:
        lines = [_open_axis(*each) for each in axes]
        super().__init__("the model leaves axes open:\n" + "\n".join(lines))


def _open_axis(tensor: str, axis: int, name: str, prompt: bool) -> str:
    called = f"called {name!r}" if name else "without a name"
    length = "--seq-len VALUE, the prompt's length, or " if prompt else ""
    return f"  input {tensor}, axis {axis}, {called}: give {length}--dim {name or f'{tensor}.{axis}'}=VALUE"


class UnknownDim(UsageError):
    pass


class BatchesDiffer(UsageError):
    """``rows``: of each input how many prompts it holds; ``names`` of the axes that could be given."""

    def __init__(self, rows: Mapping[str, int], names: Mapping[str, str]) -> None:
        said = ", ".join(f"{name} has {size}" for name, size in rows.items())
        free = [names[name] or f"{name}.0" for name in rows if name in names]
        remedy = f"; give {' '.join(f'--dim {each}=VALUE' for each in dict.fromkeys(free))}" if free else ""
        super().__init__(f"the inputs disagree how many prompts there are: {said}{remedy}")


class UnknownOutput(UsageError):
    def __init__(self, asked: str, there: Iterable[str]) -> None:
        super().__init__(f"the model has no output {asked!r}; it has {', '.join(sorted(there)) or 'none'}")


class NotRun(UsageError):
    def __init__(self, said: str) -> None:
        line = next((each.strip() for each in said.splitlines() if each.strip()), "no reason given")
        super().__init__(f"ONNX Runtime cannot run the model on these inputs: {line}")


class NotFinite(FrontendError):
    def __init__(self, tensors: Sequence[str]) -> None:
        self.tensors = tuple(tensors)
        super().__init__(f"weights with NaN or infinite values: {', '.join(tensors)}")


class UnsupportedOp(FrontendError):
    """One node that cannot be compiled."""

    def __init__(self, node: str, op_type: str, opset: int, reason: str) -> None:
        self.node, self.op_type, self.opset, self.reason = node, op_type, opset, reason
        super().__init__(f"{op_type} (opset {opset}) at {node or 'a node without a name'}: {reason}")


class ControlFlow(UnsupportedOp):
    pass


class UnsupportedModel(FrontendError):
    """``compiling``: the model's outputs in whose way nothing is."""

    def __init__(self, ops: Sequence[UnsupportedOp], compiling: Sequence[str] = ()) -> None:
        self.ops, self.compiling = tuple(ops), tuple(compiling)
        lines = "\n".join(f"  {each}" for each in ops)
        if compiling:
            lines += f"\n  these outputs compile: {', '.join(compiling)} (choose them with --output)"
        noun = "operator" if len(ops) == 1 else "operators"
        super().__init__(f"{len(ops)} unsupported {noun}:\n{lines}")
