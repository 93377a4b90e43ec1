"""Checkpoints of crammed-BERT's own code, as `JonasGeiping/crammed-bert` is published, as models of ours.

None of that code runs: the config is read, and the weights are put in their places.

Source: Geiping & Goldstein 2022; github.com/JonasGeiping/cramming, `cramming/architectures/crammed_bert.py`.
"""

import warnings

import numpy as np

from budgetbert.models import BertBudget, BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer
from budgetbert.tokenization.published import read_tokenizer

MODEL_TYPE = "crammedBERT"

# What the architecture may be; another value would be another function of the weights.
_FIXED = {
    ("norm",): ("LayerNorm",),
    ("nonlin",): ("GELUglu",),
    ("tie_weights",): (True,),
    ("use_bias",): (False,),
    ("decoder_bias",): (False,),
    ("skip_head_transform",): (True,),
    ("embedding", "pos_embedding"): ("scaled-sinusoidal",),
    ("attention", "type"): ("self-attention",),
    ("attention", "causal_attention"): (False,),
    ("attention", "rotary_embedding"): (False, None),
    ("attention", "qkv_bias"): (False,),
    ("attention", "skip_output_projection"): (False,),
    ("attention", "sequence_op"): ("torch-softmax",),
}


def load_crammed(directory, config, sequence_length=128, **kwargs):
    """Loads a masked-LM that crammed-BERT's own code wrote, with its tokenizer.

    Args:
        directory: string. A folder, or a name on the hub.
        config: dict, its `config.json`.
        sequence_length: int. Of the preprocessor. Defaults to `128`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM` with a preprocessor. Its logits are those of the original. Of its tokenizer's pieces
        runs of punctuation ("...") differ, which are split here, as a warning says.

    Raises:
        ValueError: if the architecture is another one of that code's, or weights are missing.
    """
    arch = config.get("arch") or {}
    for path, values in _FIXED.items():
        found = arch
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if found not in values:
            raise ValueError(
                f"{directory} is of crammed-BERT's code with {'.'.join(path)}={found!r}: only {values[0]!r} converts."
            )
    embedding, attention = arch["embedding"], arch["attention"]
    encoder = BertBudget(
        **{
            "vocabulary_size": embedding["vocab_size"],
            "num_layers": arch["num_transformer_layers"],
            "num_heads": attention["num_attention_heads"],
            "hidden_dim": arch["hidden_size"],
            "intermediate_dim": arch["intermed_size"],
            "max_sequence_length": embedding["max_seq_length"],
            "num_segments": 0,
            "norm_placement": "pre",
            "norm_epsilon": arch["norm_eps"],
            "use_bias": False,
            "gated": True,
            "position": "scaled_sinusoidal",
            "embedding_norm": embedding["normalization"],
            "final_norm": arch["final_norm"],
            "dropout": arch["hidden_dropout_prob"],
            "attention_dropout": attention["dropout_prob"],
            **kwargs,
        }
    )
    preprocessor = BertBudgetMaskedLMPreprocessor(
        _tokenizer(directory), min(sequence_length, encoder.max_sequence_length)
    )
    model = BertBudgetMaskedLM(encoder, preprocessor, head_transform=False, output_bias=False)
    _assign(encoder, _weights(directory), directory)
    return model


def _tokenizer(directory):
    """The checkpoint's WordPiece, whose special tokens get the names that they have here."""
    from transformers.utils import cached_file

    try:
        vocabulary, normalizer, differs = read_tokenizer(cached_file(directory, "tokenizer.json"))
    except ValueError as error:
        raise ValueError(f"The tokenizer of {directory} cannot be read here: {str(error).rstrip('.')}.") from error
    if differs:
        warnings.warn(f"{directory}: {differs}.", stacklevel=4)
    return BertBudgetTokenizer.from_normalizer(vocabulary, normalizer)


def _weights(directory):
    """The checkpoint's weights, a dict of name to array."""
    from safetensors.torch import load_file
    from transformers.utils import cached_file

    path = cached_file(directory, "model.safetensors", _raise_exceptions_for_missing_entries=False)
    if path is not None:
        weights = load_file(path)
    else:
        import torch

        # Of a pickle nothing but tensors is read.
        path = cached_file(directory, "pytorch_model.bin")
        weights = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in weights.items()}


def _assign(encoder, weights, directory):
    heads, width = encoder.num_heads, encoder.hidden_dim

    def take(name):
        # The code compiles models, which puts a word before each name.
        for prefix in ("encoder.", "_orig_mod.encoder."):
            if f"{prefix}{name}" in weights:
                return weights[f"{prefix}{name}"]
        raise ValueError(f"{directory} lacks the weight encoder.{name}.")

    def assign_norm(norm, name):
        norm.gamma.assign(take(f"{name}.weight"))
        norm.beta.assign(take(f"{name}.bias"))

    embeddings = encoder.embeddings
    embeddings.token_table.embeddings.assign(take("embedding.word_embedding.weight"))
    embeddings.position_scale.assign(np.reshape(take("embedding.pos_embedding.scale_factor"), ()))
    if embeddings.norm_layer is not None:
        assign_norm(embeddings.norm_layer, "embedding.norm")
    if encoder.final_norm_layer is not None:
        assign_norm(encoder.final_norm_layer, "final_norm")
    for number, block in enumerate(encoder.transformer_layers):
        name = f"layers.{number}"
        # Its kernel holds query, key and value of one head, then those of the next.
        qkv = take(f"{name}.attn.self_attention.query_key_value.weight").reshape(heads, 3, width // heads, width)
        block.attention.qkv.kernel.assign(qkv.transpose(1, 0, 2, 3).reshape(3 * width, width).T)
        block.attention.output_projection.kernel.assign(take(f"{name}.attn.dense.weight").T)
        block.feed_forward.intermediate.kernel.assign(take(f"{name}.ffn.dense_in.weight").T)
        block.feed_forward.output_projection.kernel.assign(take(f"{name}.ffn.dense_out.weight").T)
        assign_norm(block.attention_norm, f"{name}.norm1")
        assign_norm(block.feed_forward_norm, f"{name}.norm2")
