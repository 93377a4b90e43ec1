"""Where the variables of our models stand in PyTorch: one table of names per architecture, and one walk over them."""

import numpy as np
from keras import ops

from budgetbert.models import (
    BertBudgetMaskedLM,
    BertBudgetQuestionAnswering,
    BertBudgetTextClassifier,
    BertBudgetTextEmbedder,
)

# The names of our layers in PyTorch; those of `_OF_BLOCK` stand behind the name of the block.
_BERT = {
    "tokens": "bert.embeddings.word_embeddings",
    "positions": "bert.embeddings.position_embeddings",
    "segments": "bert.embeddings.token_type_embeddings",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "block": "bert.encoder.layer.{}.",
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
    "pooler": "bert.pooler.dense",
    "classifier": "classifier",
    "token_classifier": "classifier",
    "qa_outputs": "qa_outputs",
    "transform": "cls.predictions.transform.dense",
    "transform_norm": "cls.predictions.transform.LayerNorm",
    "output_bias": "cls.predictions.bias",
}
_OF_BLOCK = ("qkv", "attention_output", "attention_norm", "intermediate", "output", "feed_forward_norm")
_LAYERS = {
    "bert": _BERT,
    "megatron-bert": {
        **_BERT,
        "final_norm": "bert.encoder.ln",
        "attention_norm": "attention.ln",
        "feed_forward_norm": "ln",
    },
    "budgetbert": {
        **{name: f"budgetbert.{name}" for name in ("tokens", "positions", "segments", "embedding_norm", "final_norm")},
        "block": "budgetbert.blocks.{}.",
        **{
            name: name
            for name in (
                *_OF_BLOCK,
                *("pooler", "classifier", "token_classifier", "qa_outputs", "transform", "transform_norm"),
            )
        },
        "output_bias": "decoder.bias",
    },
}


def assign(hf_model, model, family):
    """Copies the variables of a model of ours into a PyTorch model.

    Args:
        hf_model: `torch.nn.Module`.
        model: one of our tasks, as `BertBudgetMaskedLM`.
        family: str. `"bert"`, `"megatron-bert"`, or `"budgetbert"`, the module of `modeling_budgetbert.py`.
    """
    import torch

    hf_variables = _parameters(hf_model)
    with torch.no_grad():
        for variable, names in _variables(model, _LAYERS[family]):
            parts = np.split(ops.convert_to_numpy(variable.value).astype("float32"), len(names), axis=-1)
            for name, part in zip(names, parts, strict=True):
                part = part.T if _is_kernel(variable) else part
                hf_variables[name].copy_(torch.from_numpy(np.ascontiguousarray(part)))


def assign_back(hf_model, model, family):
    """Copies the weights of a PyTorch model into the variables of a model of ours; arguments as `assign`."""
    hf_variables = _parameters(hf_model)
    for variable, names in _variables(model, _LAYERS[family]):
        parts = [hf_variables[name].detach().cpu().float().numpy() for name in names]
        variable.assign(np.concatenate([p.T if _is_kernel(variable) else p for p in parts], axis=-1))


def _parameters(hf_model):
    """Returns the parameters of a PyTorch model by name: those of an encoder alone as in a task, behind its prefix."""
    parameters, prefix = dict(hf_model.named_parameters()), f"{hf_model.base_model_prefix}."
    if any(name.startswith(prefix) for name in parameters):
        return parameters
    return {f"{prefix}{name}": parameter for name, parameter in parameters.items()}


def _is_kernel(variable):
    # PyTorch's linear layers keep [out, in].
    return variable.path.endswith("/kernel")


def _variables(model, names):
    """Yields each variable of `model` with the names of its parts in PyTorch, which lie along the last axis.

    Args:
        model: one of our tasks, as `BertBudgetMaskedLM`.
        names: dict, one of `_LAYERS`.
    """
    encoder, embeddings = model.backbone, model.backbone.embeddings
    layers = [
        (embeddings.token_table, "tokens", ""),
        (embeddings.position_table, "positions", ""),
        (embeddings.segment_table, "segments", ""),
        (embeddings.norm_layer, "embedding_norm", ""),
        (encoder.final_norm_layer, "final_norm", ""),
    ]
    for number, block in enumerate(encoder.transformer_layers):
        prefix = names["block"].format(number)
        layers += [
            (block.attention.qkv, "qkv", prefix),
            (block.attention.output_projection, "attention_output", prefix),
            (block.attention_norm, "attention_norm", prefix),
            (block.feed_forward.intermediate, "intermediate", prefix),
            (block.feed_forward.output_projection, "output", prefix),
            (block.feed_forward_norm, "feed_forward_norm", prefix),
        ]
    if isinstance(model, BertBudgetTextClassifier):
        layers += [(model.pooler, "pooler", ""), (model.logits, "classifier", "")]
    elif isinstance(model, BertBudgetQuestionAnswering):
        layers += [(model.logits, "qa_outputs", "")]
    elif not isinstance(model, (BertBudgetMaskedLM, BertBudgetTextEmbedder)):
        layers += [(model.logits, "token_classifier", "")]
    elif getattr(model, "head_transform", False):
        layers += [(model.head.transform_dense, "transform", ""), (model.head.transform_norm, "transform_norm", "")]
    for layer, part, prefix in layers:
        if layer is not None:
            parts = names[part] if isinstance(names[part], tuple) else (names[part],)
            for variable, kind in _variables_of(layer):
                yield variable, [f"{prefix}{name}.{kind}" for name in parts]
    if getattr(model, "output_bias", False):
        yield model.head.bias, [names["output_bias"]]


def _variables_of(layer):
    """Yields the variables of a dense layer, a table or a norm of ours with their last names in PyTorch."""
    if getattr(layer, "lora_enabled", False):
        raise ValueError(
            "The encoder has LoRA enabled: save the model to a .keras file, which adds its products to kernels, and "
            "export what load_model() reads from it."
        )
    if hasattr(layer, "kernel"):
        yield layer.kernel, "weight"
        if layer.bias is not None:
            yield layer.bias, "bias"
    elif hasattr(layer, "embeddings"):
        yield layer.embeddings, "weight"
    else:
        for variable in layer.weights:
            yield variable, "bias" if variable.path.endswith("/beta") else "weight"
