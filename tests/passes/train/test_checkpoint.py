"""A file from which training goes on to the bit, and that is never half of one."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from ppc.passes.train import checkpoint  # noqa: E402


def made(seed: int) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    torch.manual_seed(seed)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((3, 2), (4,))]
    return weights, torch.optim.AdamW(weights, fused=True)


def step(weights: list[torch.Tensor], optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    sum((x**3).sum() for x in weights).backward()
    optimiser.step()


def test_it_goes_on_to_the_bit(tmp_path: Path) -> None:
    weights, optimiser = made(0)
    for _ in range(3):
        step(weights, optimiser)
    checkpoint.keep(tmp_path / "a.safetensors", weights, optimiser, 3, 0.1 + 0.2)
    others, theirs = made(1)
    assert checkpoint.restore(tmp_path / "a.safetensors", others, theirs) == (3, 0.1 + 0.2)
    for _ in range(2):
        step(weights, optimiser)
        step(others, theirs)
    assert all(torch.equal(x, y) for x, y in zip(weights, others, strict=True))
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_file_that_is_there_stays_until_the_next_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, optimiser = made(0)
    checkpoint.keep(tmp_path / "a.safetensors", weights, optimiser, 1, 0.5)

    def half(tensors: object, path: Path, told: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.keep(tmp_path / "a.safetensors", weights, optimiser, 2, 0.5)
    assert checkpoint.restore(tmp_path / "a.safetensors", weights, optimiser) == (1, 0.5)
