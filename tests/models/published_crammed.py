"""A small checkpoint in the format of crammed-BERT's own code, and what that code computes, written down anew."""

import json

import numpy as np

from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import standalone_tokenizer

from .examples import VOCABULARY

ARCH = {
    "num_transformer_layers": 2,
    "hidden_size": 32,
    "intermed_size": 64,
    "hidden_dropout_prob": 0.1,
    "norm": "LayerNorm",
    "norm_eps": 1e-12,
    "norm_scheme": "pre",
    "nonlin": "GELUglu",
    "tie_weights": True,
    "decoder_bias": False,
    "sparse_prediction": 0.25,
    "loss": "cross-entropy",
    "objective_layout": "MLM",
    "embedding": {
        "vocab_size": 128,
        "pos_embedding": "scaled-sinusoidal",
        "dropout_prob": 0.1,
        "pad_token_id": 0,
        "max_seq_length": 24,
        "embedding_dim": 32,
        "normalization": True,
        "stable_low_precision": False,
    },
    "attention": {
        "type": "self-attention",
        "causal_attention": False,
        "num_attention_heads": 4,
        "dropout_prob": 0.1,
        "skip_output_projection": False,
        "qkv_bias": False,
        "rotary_embedding": False,
        "seq_op_in_fp32": False,
        "sequence_op": "torch-softmax",
    },
    "init": {"type": "normal", "std": 0.02},
    "skip_head_transform": True,
    "use_bias": False,
    "final_norm": True,
    "num_labels": None,
    "classification_head": {"pooler": "avg", "include_ff_layer": True, "head_dim": 1024, "nonlin": "Tanh"},
}
LAYER = {
    "norm1.weight": (32,),
    "norm1.bias": (32,),
    "norm2.weight": (32,),
    "norm2.bias": (32,),
    "attn.self_attention.query_key_value.weight": (96, 32),
    "attn.dense.weight": (32, 32),
    "ffn.dense_in.weight": (64, 32),
    "ffn.dense_out.weight": (32, 32),
}


def weights():
    """Random weights by the names of the original code."""
    shapes = {
        "embedding.word_embedding.weight": (128, 32),
        "embedding.pos_embedding.scale_factor": (1,),
        "embedding.norm.weight": (32,),
        "embedding.norm.bias": (32,),
        "final_norm.weight": (32,),
        "final_norm.bias": (32,),
        **{f"layers.{layer}.{name}": shape for layer in range(2) for name, shape in LAYER.items()},
    }
    rng = np.random.default_rng(0)
    found = {f"encoder.{name}": rng.normal(0, 0.3, shape).astype("float32") for name, shape in shapes.items()}
    return {**found, "decoder.weight": found["encoder.embedding.word_embedding.weight"]}


def write(folder, arch=ARCH, **changes):
    """Writes the folder as `save_pretrained` of the original does; `changes` are entries of the weights."""
    from safetensors.numpy import save_file

    config = {"architectures": ["ScriptableLMForPreTraining"], "model_type": "crammedBERT", "arch": arch}
    (folder / "config.json").write_text(json.dumps(config))
    kept = {name: array for name, array in {**weights(), **changes}.items() if array is not None}
    save_file(kept, folder / "model.safetensors")
    described = json.loads(standalone_tokenizer(VOCABULARY, Normalizer(kind="cramming")).to_str())
    described["pre_tokenizer"] = {"type": "Whitespace"}
    text = json.dumps(described)
    for token in ("PAD", "UNK", "CLS", "SEP", "MASK"):
        text = text.replace(f"[{token}]", f"<{token.lower()}>")
    (folder / "tokenizer.json").write_text(text)
    return str(folder)


def logits(w, ids, mask):
    """The logits `[batch, length, vocabulary]` of token ids with a padding mask, in float64.

    Source: `cramming/architectures/crammed_bert.py`, `attention.py` and `embeddings.py`.
    """
    from scipy.special import erf

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    w = {name.removeprefix("encoder."): array.astype("float64") for name, array in w.items()}
    (batch, length), width, heads = ids.shape, 32, 4
    angle = np.arange(length)[:, None] * np.exp(-np.log(10000.0) * np.arange(0, width, 2) / width)
    positions = np.empty((length, width))
    positions[:, 0::2], positions[:, 1::2] = np.sin(angle), np.cos(angle)
    x = w["embedding.word_embedding.weight"][ids] + w["embedding.pos_embedding.scale_factor"] * positions
    x = norm(x, "embedding.norm")
    for layer in range(2):
        name = f"layers.{layer}"
        mixed = norm(x, f"{name}.norm1") @ w[f"{name}.attn.self_attention.query_key_value.weight"].T
        query, key, value = np.split(mixed.reshape(batch, length, heads, 3 * width // heads), 3, axis=-1)
        scores = np.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(width // heads)
        scores = np.where(mask[:, None, None, :] == 1, scores, -1e30)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        context = np.einsum("bhqk,bkhd->bqhd", scores / scores.sum(-1, keepdims=True), value)
        x = x + context.reshape(batch, length, width) @ w[f"{name}.attn.dense.weight"].T
        inner, gate = np.split(norm(x, f"{name}.norm2") @ w[f"{name}.ffn.dense_in.weight"].T, 2, axis=-1)
        x = x + (gate * 0.5 * (1 + erf(gate / np.sqrt(2))) * inner) @ w[f"{name}.ffn.dense_out.weight"].T
    return norm(x, "final_norm") @ w["decoder.weight"].T
