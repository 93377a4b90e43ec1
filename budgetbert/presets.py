"""The published architectures by name. A preset fixes the architecture; its vocabulary size is only a default."""

import json
import os

from budgetbert.errors import InputError


def _family(backbone, masked_lm, text_classifier=None):
    def preset(num_layers, hidden_dim, num_heads, intermediate_dim, vocabulary_size=32768):
        sizes = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "hidden_dim": hidden_dim,
            "intermediate_dim": intermediate_dim,
        }
        return {
            "backbone": {**sizes, **backbone, "max_sequence_length": 512, "dropout": 0.1},
            "masked_lm": masked_lm,
            "text_classifier": text_classifier or {},
            "token_classifier": {},
            "question_answering": {},
            "text_embedder": {},
        }

    return preset


# Devlin et al. 2018.
_bert = _family(
    {"norm_placement": "post", "embedding_norm": True, "final_norm": False},
    {"head_transform": True, "output_bias": True},
)
# Izsak, Berchansky, Levy 2021, as its code stands since November 2021: no embedding norm; an output bias is stored
# there but never used.
_academic = _family(
    {"norm_placement": "pre", "embedding_norm": False, "final_norm": True},
    {"head_transform": True, "output_bias": False},
)
# Geiping & Goldstein 2022, the final configuration of the ICML version.
_CRAMMED = {
    "norm_placement": "pre",
    "embedding_norm": True,
    "final_norm": True,
    "use_bias": False,
    "gated": True,
    "position": "scaled_sinusoidal",
    "num_segments": 0,
}
_CRAMMED_HEAD = {"head_transform": False, "output_bias": False}
_crammed = _family(_CRAMMED, _CRAMMED_HEAD, {"pooler_dim": 1024})
# Ours: crammed-BERT with rotary positions (Su et al. 2021). A mask finds its neighbours from the first steps on: after
# 38 TFLOP at a width of 128 the loss is 3.5 nats, 5.8 with the sinusoid (docs/LOG.md, 2026-11-29). The pooler is as
# wide as the encoder, as in BERT.
_frontier = _family({**_CRAMMED, "position": "rotary"}, _CRAMMED_HEAD)

PRESETS = {
    "bert_base": _bert(12, 768, 12, 3072, vocabulary_size=30522),
    "bert_large": _bert(24, 1024, 16, 4096, vocabulary_size=30522),
    "bert_large_24h": _academic(24, 1024, 16, 4096, vocabulary_size=30528),
    "crammed_base": _crammed(16, 768, 12, 3072),
    "mini_bert": _bert(4, 256, 4, 1024),
    "mini_24h": _academic(4, 256, 4, 1024),
    "mini_crammed": _crammed(4, 256, 4, 1024),
    "tiny_bert": _bert(2, 128, 2, 512),
    "tiny_24h": _academic(2, 128, 2, 512),
    "tiny_crammed": _crammed(2, 128, 2, 512),
    "tiny_frontier": _frontier(4, 128, 2, 512),
}


def pooler_dim_of(config):
    """Returns the width (int) that the pooler of a classifier has by an encoder's architecture.

    Crammed-BERT, known by its gates and its scaled sinusoid, has 1,024 by its config, whatever the encoder's width. All
    others have a pooler as wide as the encoder, as in BERT.

    Args:
        config: dict of the arguments of `BertBudget`.

    Example:

    >>> pooler_dim_of(PRESETS["tiny_crammed"]["backbone"]), pooler_dim_of(PRESETS["tiny_frontier"]["backbone"])
    (1024, 128)
    """
    crammed = config["gated"] and config["position"] == "scaled_sinusoidal"
    return PRESETS["crammed_base"]["text_classifier"]["pooler_dim"] if crammed else config["hidden_dim"]


# What `--config` may override of an encoder: an example of a value, or all the values that there are.
FIELDS = {
    **dict.fromkeys(("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length"), 128),
    "num_segments": 2,
    "norm_placement": ("post", "pre"),
    "norm": ("layer_norm", "rms_norm"),
    "activation": ("gelu", "gelu_approximate"),
    "position": ("learned", "scaled_sinusoidal", "rotary"),
    **dict.fromkeys(("use_bias", "gated", "embedding_norm", "final_norm"), True),
    **dict.fromkeys(("norm_epsilon", "dropout", "attention_dropout", "initializer_range"), 0.1),
    **dict.fromkeys(("position_scale_start", "rotary_base"), 0.1),
}
_MOST = {int: 2**17, float: 1e9}


def parse_config(text):
    """Reads `--config`.

    Args:
        text: str, a JSON object of fields of an encoder, as `{"num_layers": 6}`.

    Returns:
        dict. Whether the values go together is for the model to say.

    Raises:
        InputError: if it is none, or a field or its value is not known.

    Example:

    >>> parse_config('{"num_layers": 6, "norm": "rms_norm"}')
    {'num_layers': 6, 'norm': 'rms_norm'}
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise InputError(f"--config {text!r} cannot be read: write an object of JSON, as '{{\"num_layers\": 6}}'.")
    for name, value in config.items():
        if name not in FIELDS:
            raise InputError(f"--config: {name} is no field of an encoder: they are {', '.join(sorted(FIELDS))}.")
        if not _fits(value, FIELDS[name], least=0 if name == "num_segments" else 1):
            example = FIELDS[name]
            told = " or ".join(example) if isinstance(example, tuple) else f"for example {json.dumps(example)}"
            raise InputError(f"--config: {name} is {json.dumps(value)}: give {told}.")
    return config


def _fits(value, example, least):
    """Whether a value is one of a tuple, or of the kind of an example and in its range."""
    if isinstance(example, tuple):
        return value in example
    if isinstance(value, bool) or isinstance(example, bool):
        return type(value) is type(example)
    if isinstance(example, int):
        return isinstance(value, int) and least <= value <= _MOST[int]
    return isinstance(value, int | float) and 0 <= value <= _MOST[float]


def preset_config(preset, load_weights):
    """The config of a published architecture, or `None` if `preset` is no name of ours.

    A directory of the same name comes first. With `load_weights` a name of ours is a `ValueError`: the architectures
    have no weights here.

    Returns:
        Dict with the keyword arguments of the `"backbone"`, the `"masked_lm"`, the `"text_classifier"`, the
        `"token_classifier"`, the `"question_answering"` and the `"text_embedder"`.
    """
    if preset not in PRESETS or os.path.isdir(preset):
        return None
    if load_weights:
        raise ValueError(
            f"The preset {preset!r} is an architecture without weights: pass load_weights=False for fresh ones, or the "
            "directory of a model that was saved with save_to_preset()."
        )
    return PRESETS[preset]
