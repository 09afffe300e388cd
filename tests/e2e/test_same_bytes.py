"""Two machines that compile alike have the same plan: sums of products differ in their last bits between BLAS
kernels, and a file may be called anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from found_files import decoder, fused_bert
from small import ROOT
from text_model import text_model

from models.tiny_bert import Shape, sample, tiny_bert

KERNELS = ("Haswell", "SkylakeX")
"""Of OpenBLAS: with AVX2, and with AVX-512 where the processor has it."""

LENGTH = 8

_COMPILE = """
import sys
from pathlib import Path
import numpy as np
import ppc
here, called, length = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with np.load(here / "bert.npz") as given:
    samples = {"calibrate": [{name: each[i] for name, each in given.items()} for i in range(32)]}
asked = {"calibrated": samples, "friendly": {**samples, "profile": "friendly"}, "text": {"seq_len": 6}}
for name in ("bert", "calibrated", "friendly", "decoder", "fused", "text"):
    made = ppc.compile(here / f"{name}.{called}.onnx", **{"seq_len": length, **asked.get(name, {})})
    made.save(here / f"{name}.{called}.bin", here / f"{name}.{called}.weights")
products = np.random.default_rng(1).normal(size=(300, 300))
(here / f"{called}.products").write_bytes((products @ products).tobytes())
"""


def _models(folder: Path, called: str) -> list[str]:
    bert = tiny_bert(Shape(layers=1, width=32))
    built = {"bert": bert, "calibrated": bert, "friendly": bert, "decoder": decoder(), "fused": fused_bert()}
    for name, model in built.items():
        onnx.save(model, folder / f"{name}.{called}.onnx")
    text_model(folder / f"text.{called}.onnx")
    return [*built, "text"]


@pytest.mark.slow
def test_six_models_on_two_kernels_and_under_two_names(tmp_path):
    samples = [sample(LENGTH, used=2 + seed % 5, seed=seed) for seed in range(32)]
    np.savez(tmp_path / "bert.npz", **{name: np.stack([s[name] for s in samples]) for name in samples[0]})
    for kernel in KERNELS:
        names = _models(tmp_path, kernel)
        env = {**os.environ, "OPENBLAS_CORETYPE": kernel, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _COMPILE, str(tmp_path), kernel, str(LENGTH)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    if len({(tmp_path / f"{kernel}.products").read_bytes() for kernel in KERNELS}) == 1:
        pytest.skip("the processor has no AVX-512, or numpy another BLAS")
    for name in names:
        for ending in ("bin", "weights"):
            made = {(tmp_path / f"{name}.{kernel}.{ending}").read_bytes() for kernel in KERNELS}
            assert len(made) == 1, f"{name}.{ending}"
