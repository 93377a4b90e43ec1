"""Models to and from Hugging Face Transformers: `BertForMaskedLM` and `MegatronBertForMaskedLM`."""

import numpy as np
from keras import ops

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.masked_lm import BertBudgetMaskedLM

# What each Hugging Face architecture fixes, in our terms.
_FAMILIES = {
    "bert": {"norm_placement": "post", "embedding_norm": True, "final_norm": False},
    "megatron-bert": {"norm_placement": "pre", "embedding_norm": False, "final_norm": True},
}
_COMMON = {"norm": "layer_norm", "use_bias": True, "gated": False, "position": "learned"}
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_approximate", "gelu_pytorch_tanh": "gelu_approximate"}


def to_transformers(model):
    """Converts a masked-LM to Hugging Face Transformers, weights included.

    Args:
        model: `BertBudgetMaskedLM` of BERT's or 24hBERT's architecture. Without an output bias (24hBERT) the
            Transformers model gets one of zeros.

    Returns:
        `transformers.BertForMaskedLM` (norm after the residual) or `transformers.MegatronBertForMaskedLM` (before), in
        evaluation mode and float32. An architecture that Transformers does not have is a `ValueError`.
    """
    import torch
    import transformers

    encoder = model.backbone
    family = _family(model)
    config_class, model_class = {
        "bert": (transformers.BertConfig, transformers.BertForMaskedLM),
        "megatron-bert": (transformers.MegatronBertConfig, transformers.MegatronBertForMaskedLM),
    }[family]
    attention_dropout = encoder.dropout if encoder.attention_dropout is None else encoder.attention_dropout
    hf_model = model_class(
        config_class(
            vocab_size=encoder.vocabulary_size,
            hidden_size=encoder.hidden_dim,
            num_hidden_layers=encoder.num_layers,
            num_attention_heads=encoder.num_heads,
            intermediate_size=encoder.intermediate_dim,
            max_position_embeddings=encoder.max_sequence_length,
            type_vocab_size=encoder.num_segments,
            hidden_act="gelu" if encoder.activation == "gelu" else "gelu_pytorch_tanh",
            layer_norm_eps=encoder.norm_epsilon,
            hidden_dropout_prob=encoder.dropout,
            attention_probs_dropout_prob=attention_dropout,
            initializer_range=encoder.initializer_range,
        )
    )
    hf_variables = dict(hf_model.named_parameters())
    with torch.no_grad():
        if not model.output_bias:
            hf_variables["cls.predictions.bias"].zero_()
        for variable, names in _correspondence(model, family):
            parts = np.split(ops.convert_to_numpy(variable.value).astype("float32"), len(names), axis=-1)
            for name, part in zip(names, parts, strict=True):
                part = part.T if _is_kernel(variable) else part
                hf_variables[name].copy_(torch.from_numpy(np.ascontiguousarray(part)))
    return hf_model.eval()


def from_transformers(hf_model, **kwargs):
    """Converts a Hugging Face masked-LM to ours, weights included.

    Args:
        hf_model: `transformers.BertForMaskedLM` or `transformers.MegatronBertForMaskedLM`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM` with an output bias and `preprocessor=None`. Another architecture, an activation other than
        GELU, a decoder, or untied embeddings are a `ValueError`.
    """
    config = hf_model.config
    family = config.model_type
    name = type(hf_model).__name__
    if family not in _FAMILIES or not name.endswith("ForMaskedLM"):
        raise ValueError(f"{name} is not one of BertForMaskedLM and MegatronBertForMaskedLM.")
    if config.hidden_act not in _ACTIVATIONS:
        raise ValueError(f"{name} has the activation {config.hidden_act!r}: only {sorted(_ACTIVATIONS)} are known.")
    if config.is_decoder or not config.tie_word_embeddings:
        raise ValueError(f"{name} is a decoder or has untied embeddings: only tied bidirectional encoders convert.")
    encoder = BertBudget(
        **{
            **_COMMON,
            **_FAMILIES[family],
            "vocabulary_size": config.vocab_size,
            "num_layers": config.num_hidden_layers,
            "num_heads": config.num_attention_heads,
            "hidden_dim": config.hidden_size,
            "intermediate_dim": config.intermediate_size,
            "max_sequence_length": config.max_position_embeddings,
            "num_segments": config.type_vocab_size,
            "norm_epsilon": config.layer_norm_eps,
            "activation": _ACTIVATIONS[config.hidden_act],
            "dropout": config.hidden_dropout_prob,
            "attention_dropout": config.attention_probs_dropout_prob,
            "initializer_range": config.initializer_range,
            **kwargs,
        }
    )
    model = BertBudgetMaskedLM(encoder)
    hf_variables = dict(hf_model.named_parameters())
    for variable, names in _correspondence(model, family):
        parts = [hf_variables[name].detach().cpu().float().numpy() for name in names]
        variable.assign(np.concatenate([p.T if _is_kernel(variable) else p for p in parts], axis=-1))
    return model


def _family(model):
    """The Hugging Face model type of `model`."""
    encoder = model.backbone
    for family, fixed in _FAMILIES.items():
        if (
            all(getattr(encoder, key) == value for key, value in {**_COMMON, **fixed}.items())
            and encoder.num_segments
            and model.head_transform
        ):
            return family
    raise ValueError(
        "Transformers has no architecture for this model: BertForMaskedLM and MegatronBertForMaskedLM have biases, "
        "LayerNorm, learned positions, segments, an ungated feed-forward and a head transform."
    )


def _is_kernel(variable):
    # PyTorch's linear layers keep [out, in].
    return variable.path.endswith("/kernel")


def _correspondence(model, family):
    """Yields each variable of `model` with the names of its parts in Hugging Face, which lie along the last axis."""
    encoder, head = model.backbone, model.head
    post = family == "bert"

    def dense(layer, *names):
        yield layer.kernel, [f"{name}.weight" for name in names]
        yield layer.bias, [f"{name}.bias" for name in names]

    def norm(layer, name):
        yield layer.gamma, [f"{name}.weight"]
        yield layer.beta, [f"{name}.bias"]

    prefix, embeddings = "bert.embeddings", encoder.embeddings
    yield embeddings.token_table.embeddings, [f"{prefix}.word_embeddings.weight"]
    yield embeddings.position_table.embeddings, [f"{prefix}.position_embeddings.weight"]
    yield embeddings.segment_table.embeddings, [f"{prefix}.token_type_embeddings.weight"]
    if post:
        yield from norm(embeddings.norm_layer, f"{prefix}.LayerNorm")
    else:
        yield from norm(encoder.final_norm_layer, "bert.encoder.ln")
    for i, block in enumerate(encoder.transformer_layers):
        prefix = f"bert.encoder.layer.{i}"
        yield from dense(
            block.attention.qkv, *(f"{prefix}.attention.self.{part}" for part in ("query", "key", "value"))
        )
        yield from dense(block.attention.output_projection, f"{prefix}.attention.output.dense")
        yield from norm(block.attention_norm, f"{prefix}.attention.{'output.LayerNorm' if post else 'ln'}")
        yield from dense(block.feed_forward.intermediate, f"{prefix}.intermediate.dense")
        yield from dense(block.feed_forward.output_projection, f"{prefix}.output.dense")
        yield from norm(block.feed_forward_norm, f"{prefix}.{'output.LayerNorm' if post else 'ln'}")
    yield from dense(head.transform_dense, "cls.predictions.transform.dense")
    yield from norm(head.transform_norm, "cls.predictions.transform.LayerNorm")
    if model.output_bias:
        yield head.bias, ["cls.predictions.bias"]
