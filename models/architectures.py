"""Small transformers of every kind, as transformers' configurations make them, exported as PyTorch exports.

Weights are seeded, and wide enough that activations vary as those of trained models do: an untrained model's
attention is flat and its layers hardly differ, which makes any approximation look good.

python models/architectures.py llama model.onnx --exporter dynamo --opset 18 --attention sdpa
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

Feeds = dict[str, NDArray[Any]]
Exporter = Literal["torchscript", "dynamo"]
Attention = Literal["eager", "sdpa"]

VOCABULARY = 96
WIDTH = 32
HEADS = 4
LAYERS = 2
POSITIONS = 40
LABELS = 5
PIXELS, PATCH = 24, 8

TOKENS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Architecture:
    """``build(attention)`` is the model; its ``outputs`` are the fields of what it returns.

    ``padding`` is the id of the token that fills a prompt up. With ``local`` attention a token looks at its
    neighbours alone, so that one of padding may find nothing to look at: what it gives then means nothing.
    """

    build: Callable[[str], nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    padding: int = 0
    local: bool = False


def _bert_like(config: type[Any], **more: Any) -> Any:
    given: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
        "num_labels": LABELS,
    }
    return config(**given | more)


def _distilbert() -> Any:
    return transformers.DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=2 * WIDTH,
        max_position_embeddings=POSITIONS,
        num_labels=LABELS,
    )


def _gpt2() -> Any:
    return transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=POSITIONS,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )


def _llama() -> Any:
    return transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2,
        intermediate_size=2 * WIDTH,
        max_position_embeddings=POSITIONS,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )


def _vit() -> Any:
    return transformers.ViTConfig(
        image_size=PIXELS,
        patch_size=PATCH,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * WIDTH,
        num_labels=LABELS,
    )


def _of(model: type[Any], config: Callable[[], Any]) -> Callable[[str], nn.Module]:
    def build(attention: str) -> nn.Module:
        settings = config()
        settings._attn_implementation = attention
        made: nn.Module = model(settings)
        return made

    return build


def _bert() -> Any:
    return _bert_like(transformers.BertConfig)


def _roberta() -> Any:
    # its position ids start behind the padding id
    return _bert_like(transformers.RobertaConfig, max_position_embeddings=POSITIONS + 2, pad_token_id=1)


def _albert() -> Any:
    return _bert_like(transformers.AlbertConfig, embedding_size=WIDTH // 2)


def _mpnet() -> Any:
    return _bert_like(transformers.MPNetConfig, max_position_embeddings=POSITIONS + 2)


def _deberta() -> Any:
    return _bert_like(
        transformers.DebertaV2Config,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    )


def _modernbert() -> Any:
    return _bert_like(
        transformers.ModernBertConfig,
        local_attention=8,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        bos_token_id=1,
        cls_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
    )


def _t5() -> Any:
    return transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=2 * WIDTH,
        num_layers=LAYERS,
        num_heads=HEADS,
    )


def _opt() -> Any:
    return transformers.OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        word_embed_proj_dim=WIDTH,
        ffn_dim=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=POSITIONS,
        use_cache=False,
    )


def _qwen() -> Any:
    return _bert_like(
        transformers.Qwen2Config,
        num_key_value_heads=HEADS // 2,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )


def _clip_text() -> Any:
    # its QuickGELU is x·σ(1.702 x)
    return _bert_like(transformers.CLIPTextConfig, projection_dim=WIDTH // 2, eos_token_id=2)


ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(
        _of(transformers.BertModel, _bert),
        (*TOKENS, "token_type_ids"),
        ("last_hidden_state", "pooler_output"),
    ),
    "bert-classification": Architecture(
        _of(transformers.BertForSequenceClassification, _bert), (*TOKENS, "token_type_ids"), ("logits",)
    ),
    "bert-tokens": Architecture(
        _of(transformers.BertForTokenClassification, _bert), (*TOKENS, "token_type_ids"), ("logits",)
    ),
    "roberta": Architecture(
        _of(transformers.RobertaForSequenceClassification, _roberta), TOKENS, ("logits",), padding=1
    ),
    "distilbert": Architecture(
        _of(transformers.DistilBertForSequenceClassification, _distilbert), TOKENS, ("logits",)
    ),
    "albert": Architecture(
        _of(transformers.AlbertModel, _albert),
        (*TOKENS, "token_type_ids"),
        ("last_hidden_state", "pooler_output"),
    ),
    "gpt2": Architecture(_of(transformers.GPT2LMHeadModel, _gpt2), TOKENS, ("logits",)),
    "llama": Architecture(_of(transformers.LlamaForCausalLM, _llama), TOKENS, ("logits",)),
    "vit": Architecture(_of(transformers.ViTForImageClassification, _vit), ("pixel_values",), ("logits",)),
}

FURTHER: dict[str, Architecture] = {
    "mpnet": Architecture(_of(transformers.MPNetModel, _mpnet), TOKENS, ("last_hidden_state",), padding=1),
    "deberta-v2": Architecture(
        _of(transformers.DebertaV2ForSequenceClassification, _deberta), TOKENS, ("logits",)
    ),
    "modernbert": Architecture(
        _of(transformers.ModernBertModel, _modernbert), TOKENS, ("last_hidden_state",), local=True
    ),
    "t5-encoder": Architecture(_of(transformers.T5EncoderModel, _t5), TOKENS, ("last_hidden_state",)),
    "opt": Architecture(_of(transformers.OPTForCausalLM, _opt), TOKENS, ("logits",), padding=1),
    "qwen2": Architecture(_of(transformers.Qwen2ForCausalLM, _qwen), TOKENS, ("logits",)),
    "clip-text": Architecture(
        _of(transformers.CLIPTextModelWithProjection, _clip_text), TOKENS, ("text_embeds",)
    ),
}
"""Tried with each exporter once: mostly made of what those above are made of."""

ALL = ARCHITECTURES | FURTHER


class _Positional(nn.Module):  # type: ignore[misc]
    """The model with inputs by position and a tuple of outputs, as exporters want it."""

    def __init__(self, model: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = self.model(**dict(zip(self.inputs, values, strict=True)), return_dict=True)
        return tuple(result[name] for name in self.outputs)


def module(name: str, attention: Attention = "eager", seed: int = 0) -> nn.Module:
    """The model called ``name`` in evaluation mode, inputs by position; a tuple of its outputs."""
    architecture = ALL[name]
    torch.manual_seed(seed)
    made = architecture.build(attention).eval()
    widen(made, seed)
    return _Positional(made, architecture.inputs, architecture.outputs).eval()


def widen(model: nn.Module, seed: int) -> None:
    """Weights that keep a value's size from layer to layer, queries and keys that make attention choose."""
    with torch.no_grad():
        _widen(model, seed)


def _widen(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    seen = set()
    for name, parameter in model.named_parameters():
        if id(parameter) in seen:
            continue
        seen.add(id(parameter))
        noise = torch.randn(parameter.shape, generator=generator)
        lower = name.lower()
        if parameter.ndim == 1:
            centre = 1.0 if ("norm" in lower or ".ln_" in lower) and lower.endswith("weight") else 0.0
            parameter.copy_(centre + 0.2 * noise)
        elif any(word in lower for word in ("embed", "wte", "wpe", "cls_token")) and parameter.ndim <= 3:
            parameter.copy_(0.5 * noise)
        else:
            fan_in = math.prod(parameter.shape[1:])
            if (
                "c_attn" in lower or "c_proj" in lower or "c_fc" in lower
            ):  # GPT-2 keeps its weights transposed
                fan_in = parameter.shape[0]
            sharp = any(word in lower for word in ("query", "key", "q_lin", "k_lin", "q_proj", "k_proj"))
            parameter.copy_(noise * (1.5 if sharp else 1.0) / math.sqrt(fan_in))


def sample(name: str, *, tokens: int = 16, batch: int = 1, used: int | None = None, seed: int = 0) -> Feeds:
    """Inputs for ``name``: ids in skewed frequencies as words have them, ``used`` of them not padding."""
    rng = np.random.default_rng(seed)
    inputs = ALL[name].inputs
    if inputs == ("pixel_values",):
        smooth = rng.standard_normal((batch, 3, PIXELS // 4, PIXELS // 4)).repeat(4, axis=2).repeat(4, axis=3)
        fine = rng.standard_normal((batch, 3, PIXELS, PIXELS))
        return {"pixel_values": (0.8 * smooth + 0.3 * fine).astype(np.float32)}
    kept = np.broadcast_to(np.arange(tokens) < (tokens if used is None else used), (batch, tokens))
    ids = 2 + (rng.zipf(1.3, (batch, tokens)) + rng.integers(0, 8, (batch, tokens))) % (VOCABULARY - 2)
    feeds: Feeds = {
        "input_ids": np.where(kept, ids, ALL[name].padding).astype(np.int64),
        "attention_mask": kept.astype(np.int64),
    }
    if "token_type_ids" in inputs:
        second = (np.arange(tokens) >= tokens // 2) & kept
        feeds["token_type_ids"] = np.broadcast_to(second, (batch, tokens)).astype(np.int64)
    return feeds


def export(
    name: str,
    path: Path,
    *,
    exporter: Exporter = "torchscript",
    opset: int = 17,
    attention: Attention = "eager",
    tokens: int = 16,
    batch: int = 1,
    dynamic: bool = True,
    seed: int = 0,
) -> Path:
    """Write the model as ONNX. ``dynamic`` leaves batch and sequence open, as most exported models do."""
    architecture = ALL[name]
    model = module(name, attention, seed)
    feeds = sample(name, tokens=tokens, batch=batch)
    args = tuple(torch.from_numpy(feeds[each]) for each in architecture.inputs)
    text = "pixel_values" not in architecture.inputs
    axes = {0: "batch", 1: "sequence"} if text else {0: "batch"}
    options: dict[str, Any] = {
        "input_names": list(architecture.inputs),
        "output_names": list(architecture.outputs),
        "opset_version": opset,
        "dynamo": exporter == "dynamo",
    }
    if dynamic and exporter == "torchscript":
        options["dynamic_axes"] = dict.fromkeys(architecture.inputs, axes)
    elif dynamic:
        options["dynamic_shapes"] = (
            (*(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for _ in architecture.inputs),),
        )
    with quiet(), torch.no_grad():
        torch.onnx.export(model, args, str(path), **options)
    return path


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk a lot."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(ALL))
    parser.add_argument("output", type=Path)
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript")
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    export(
        args.name, args.output, exporter=args.exporter, opset=args.opset, attention=args.attention,
        tokens=args.tokens, batch=args.batch, seed=args.seed,
    )  # fmt: skip
    print(f"{args.output}: {onnx.load(args.output).opset_import[0].version=}")
