"""Models to and from Hugging Face Transformers: BERT (norm after the residual) and Megatron-BERT (norm before)."""

import numpy as np
from keras import ops

from budgetbert.models import BertBudget, BertBudgetMaskedLM, BertBudgetTextClassifier

# What each Hugging Face architecture fixes, in our terms.
_FAMILIES = {
    "bert": {"norm_placement": "post", "embedding_norm": True, "final_norm": False},
    "megatron-bert": {"norm_placement": "pre", "embedding_norm": False, "final_norm": True},
}
_COMMON = {"norm": "layer_norm", "use_bias": True, "gated": False, "position": "learned"}
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_approximate", "gelu_pytorch_tanh": "gelu_approximate"}


def to_transformers(model):
    """Converts a masked-LM or a text classifier to Hugging Face Transformers, weights included.

    Args:
        model: `BertBudgetMaskedLM` or `BertBudgetTextClassifier` of BERT's or 24hBERT's architecture. Without an output
            bias (24hBERT) the Transformers model gets one of zeros.

    Returns:
        `transformers.BertForMaskedLM` or `BertForSequenceClassification` (norm after the residual),
        `MegatronBertForMaskedLM` or `MegatronBertForSequenceClassification` (before), in evaluation mode and float32.
        An architecture that Transformers does not have is a `ValueError`.
    """
    import torch
    import transformers

    encoder = model.backbone
    classifies = isinstance(model, BertBudgetTextClassifier)
    family = _family(model)
    config_class, model_class = {
        ("bert", False): (transformers.BertConfig, transformers.BertForMaskedLM),
        ("bert", True): (transformers.BertConfig, transformers.BertForSequenceClassification),
        ("megatron-bert", False): (transformers.MegatronBertConfig, transformers.MegatronBertForMaskedLM),
        ("megatron-bert", True): (transformers.MegatronBertConfig, transformers.MegatronBertForSequenceClassification),
    }[family, classifies]
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
            **classifier_config(model),
        )
    )
    with torch.no_grad():
        if not classifies and not model.output_bias:
            hf_model.cls.predictions.bias.zero_()
    assign(hf_model, _correspondence(model, family))
    return hf_model.eval()


def from_transformers(hf_model, preprocessor=None, pair=False, **kwargs):
    """Converts a Hugging Face masked-LM or sequence classifier to ours, weights included.

    Args:
        hf_model: `BertForMaskedLM`, `BertForSequenceClassification`, `MegatronBertForMaskedLM` or
            `MegatronBertForSequenceClassification` of `transformers`.
        preprocessor: preprocessor of the result. Defaults to `None`.
        pair: bool. Whether a classifier reads two texts, which its checkpoint does not say. Defaults to `False`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM` with an output bias, or `BertBudgetTextClassifier` with the label names. Another
        architecture, an activation other than GELU, a decoder, or untied embeddings of a masked-LM are a `ValueError`.
    """
    config = hf_model.config
    family = config.model_type
    name = type(hf_model).__name__
    classifies = name.endswith("ForSequenceClassification")
    if family not in _FAMILIES or not (classifies or name.endswith("ForMaskedLM")):
        raise ValueError(
            f"{name} is not one of BertForMaskedLM and MegatronBertForMaskedLM, nor of BertForSequenceClassification "
            "and MegatronBertForSequenceClassification."
        )
    if config.hidden_act not in _ACTIVATIONS:
        raise ValueError(f"{name} has the activation {config.hidden_act!r}: only {sorted(_ACTIVATIONS)} are known.")
    if config.is_decoder or not (classifies or config.tie_word_embeddings):
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
    if classifies:
        labels = [config.id2label[index] for index in range(config.num_labels)]
        dropout = getattr(config, "classifier_dropout", None)  # which Megatron-BERT does not have
        dropout = config.hidden_dropout_prob if dropout is None else dropout
        named = config.num_labels > 1 and labels != [f"LABEL_{index}" for index in range(config.num_labels)]
        options = {"dropout": dropout, "label_names": labels if named else None, "pair": pair}
        model = BertBudgetTextClassifier(encoder, config.num_labels, preprocessor, **options)
    else:
        model = BertBudgetMaskedLM(encoder, preprocessor)
    hf_variables = dict(hf_model.named_parameters())
    for variable, names in _correspondence(model, family):
        parts = [hf_variables[name].detach().cpu().float().numpy() for name in names]
        variable.assign(np.concatenate([p.T if _is_kernel(variable) else p for p in parts], axis=-1))
    return model


def classifier_config(model):
    """The entries of a Hugging Face config that say what a classifier's logits mean; a masked-LM has none."""
    if not isinstance(model, BertBudgetTextClassifier):
        return {}
    names = model.label_names or [f"LABEL_{index}" for index in range(model.num_classes)]
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": "regression" if model.num_classes == 1 else "single_label_classification",
        "classifier_dropout": model.dropout,
    }


def assign(hf_model, correspondence):
    """Copies variables of ours into a PyTorch model.

    Args:
        hf_model: `torch.nn.Module`.
        correspondence: pairs of a Keras variable and the names of its parts in `hf_model`, along its last axis.
    """
    import torch

    hf_variables = dict(hf_model.named_parameters())
    with torch.no_grad():
        for variable, names in correspondence:
            parts = np.split(ops.convert_to_numpy(variable.value).astype("float32"), len(names), axis=-1)
            for name, part in zip(names, parts, strict=True):
                part = part.T if _is_kernel(variable) else part
                hf_variables[name].copy_(torch.from_numpy(np.ascontiguousarray(part)))


def has_architecture(model):
    """Whether Transformers has an architecture with the same numbers as `model`."""
    encoder = model.backbone
    if isinstance(model, BertBudgetTextClassifier):
        head = model.pooler.units == encoder.hidden_dim
    else:
        head = model.head_transform
    return bool(encoder.num_segments and head and _fixed(encoder))


def _fixed(encoder):
    """The family whose fixed choices `encoder` has, or `None`."""
    for family, fixed in _FAMILIES.items():
        if all(getattr(encoder, key) == value for key, value in {**_COMMON, **fixed}.items()):
            return family
    return None


def _family(model):
    """The Hugging Face model type of `model`."""
    if not has_architecture(model):
        raise ValueError(
            "Transformers has no architecture for this model: BERT and Megatron-BERT have biases, LayerNorm, learned "
            "positions, segments, an ungated feed-forward, and a head transform or a pooler as wide as the encoder."
        )
    return _fixed(model.backbone)


def _is_kernel(variable):
    # PyTorch's linear layers keep [out, in].
    return variable.path.endswith("/kernel")


def dense_names(layer, *names):
    """Yields the variables of a dense layer of ours with the names of their parts in PyTorch."""
    yield layer.kernel, [f"{name}.weight" for name in names]
    if layer.bias is not None:
        yield layer.bias, [f"{name}.bias" for name in names]


def norm_names(layer, name):
    """Yields the variables of a LayerNorm or RMSNorm of ours with their names in PyTorch."""
    for variable in layer.weights:
        yield variable, [f"{name}.{'bias' if variable.path.endswith('/beta') else 'weight'}"]


def _correspondence(model, family):
    """Yields each variable of `model` with the names of its parts in Hugging Face, which lie along the last axis."""
    encoder = model.backbone
    post = family == "bert"
    prefix, embeddings = "bert.embeddings", encoder.embeddings
    yield embeddings.token_table.embeddings, [f"{prefix}.word_embeddings.weight"]
    yield embeddings.position_table.embeddings, [f"{prefix}.position_embeddings.weight"]
    yield embeddings.segment_table.embeddings, [f"{prefix}.token_type_embeddings.weight"]
    if post:
        yield from norm_names(embeddings.norm_layer, f"{prefix}.LayerNorm")
    else:
        yield from norm_names(encoder.final_norm_layer, "bert.encoder.ln")
    for i, block in enumerate(encoder.transformer_layers):
        prefix = f"bert.encoder.layer.{i}"
        yield from dense_names(
            block.attention.qkv, *(f"{prefix}.attention.self.{part}" for part in ("query", "key", "value"))
        )
        yield from dense_names(block.attention.output_projection, f"{prefix}.attention.output.dense")
        yield from norm_names(block.attention_norm, f"{prefix}.attention.{'output.LayerNorm' if post else 'ln'}")
        yield from dense_names(block.feed_forward.intermediate, f"{prefix}.intermediate.dense")
        yield from dense_names(block.feed_forward.output_projection, f"{prefix}.output.dense")
        yield from norm_names(block.feed_forward_norm, f"{prefix}.{'output.LayerNorm' if post else 'ln'}")
    if isinstance(model, BertBudgetTextClassifier):
        yield from dense_names(model.pooler, "bert.pooler.dense")
        yield from dense_names(model.logits, "classifier")
        return
    head = model.head
    yield from dense_names(head.transform_dense, "cls.predictions.transform.dense")
    yield from norm_names(head.transform_norm, "cls.predictions.transform.LayerNorm")
    if model.output_bias:
        yield head.bias, ["cls.predictions.bias"]
