"""Models to and from Hugging Face Transformers and PyTorch, weights included.

Transformers has BERT (norm after the residual) and Megatron-BERT (norm before); every other architecture of ours is the
PyTorch module of `modeling_budgetbert.py`.
"""

import numpy as np
from keras import ops

from budgetbert.layers.embedding import sinusoid
from budgetbert.models import BertBudget, BertBudgetMaskedLM, BertBudgetTextClassifier, BertBudgetTextEmbedder
from budgetbert.models.hugging_face_heads import (
    TASKS,
    auto_class,
    head_config,
    make_answerer,
    make_classifier,
    make_tagger,
    task_name,
)
from budgetbert.models.hugging_face_weights import assign, assign_back
from budgetbert.models.quantization import check_not_quantized
from budgetbert.presets import pooler_dim_of

# What each architecture of Transformers fixes, in our terms.
FAMILIES = {
    "bert": {"norm_placement": "post", "embedding_norm": True, "final_norm": False},
    "megatron-bert": {"norm_placement": "pre", "embedding_norm": False, "final_norm": True},
}
_COMMON = {"norm": "layer_norm", "use_bias": True, "gated": False, "position": "learned"}
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_approximate", "gelu_pytorch_tanh": "gelu_approximate"}
# What a Hugging Face config and the arguments of `BertBudget` call by different names.
_CONFIG = {
    "vocab_size": "vocabulary_size",
    "hidden_size": "hidden_dim",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "intermediate_dim",
    "max_position_embeddings": "max_sequence_length",
    "type_vocab_size": "num_segments",
    "hidden_dropout_prob": "dropout",
    "initializer_range": "initializer_range",
}
_OF_TRANSFORMERS = {**_CONFIG, "layer_norm_eps": "norm_epsilon"}
# What BERT's config does not have stands in that of `modeling_budgetbert.py` under our own names.
_OWN = ("norm_placement", "norm", "norm_epsilon", "use_bias", "activation", "gated", "embedding_norm", "final_norm")
_OF_TORCH = {**_CONFIG, **{name: name for name in _OWN}}
# The classes of the loader by the name under which `transformers` looks for them.
_AUTO_MAP = {
    "AutoConfig": "modeling_budgetbert.BudgetBertConfig",
    "AutoModel": "modeling_budgetbert.BudgetBertModel",
    "AutoModelForMaskedLM": "modeling_budgetbert.BudgetBertForMaskedLM",
    "AutoModelForSequenceClassification": "modeling_budgetbert.BudgetBertForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_budgetbert.BudgetBertForTokenClassification",
    "AutoModelForQuestionAnswering": "modeling_budgetbert.BudgetBertForQuestionAnswering",
}


def to_transformers(model):
    """Converts one of our tasks to Hugging Face Transformers, weights included.

    Args:
        model: `BertBudgetMaskedLM`, `BertBudgetTextClassifier`, `BertBudgetTokenClassifier` or
            `BertBudgetQuestionAnswering` of BERT's or 24hBERT's architecture. Without an output bias (24hBERT) the
            Transformers model gets one of zeros.

    Returns:
        `transformers.BertForMaskedLM`, `BertForSequenceClassification`, `BertForTokenClassification` or
        `BertForQuestionAnswering` (norm after the residual), or the same of `MegatronBert` (before), in evaluation mode
        and float32. An architecture that Transformers does not have is a `ValueError`.
    """
    import torch
    import transformers

    check_not_quantized(model)
    encoder = model.backbone
    family = _family(model)
    name = {"bert": "Bert", "megatron-bert": "MegatronBert"}[family]
    config_class = getattr(transformers, f"{name}Config")
    model_class = getattr(transformers, f"{name}{task_name(model)}")
    hf_model = model_class(
        config_class(
            **_config_of(encoder, _OF_TRANSFORMERS),
            hidden_act="gelu" if encoder.activation == "gelu" else "gelu_pytorch_tanh",
            **head_config(model),
        )
    )
    with torch.no_grad():
        if isinstance(model, BertBudgetMaskedLM) and not model.output_bias:
            hf_model.cls.predictions.bias.zero_()
        if isinstance(model, BertBudgetTextEmbedder):  # whose vectors have no use for a pooler
            hf_model.pooler.dense.weight.zero_()
    assign(hf_model, model, family)
    return hf_model.eval()


def from_transformers(hf_model, preprocessor=None, pair=False, **kwargs):
    """Converts a Hugging Face masked-LM, sequence or token classifier or question-answering model to ours.

    Args:
        hf_model: `BertForMaskedLM`, `BertForSequenceClassification`, `BertForTokenClassification` or
            `BertForQuestionAnswering` of `transformers`, or the same of `MegatronBert`.
        preprocessor: preprocessor of the result. Defaults to `None`.
        pair: bool. Whether a classifier reads two texts, which its checkpoint does not say. Defaults to `False`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM` with an output bias, `BertBudgetTextClassifier` or `BertBudgetTokenClassifier` with the
        label names, or `BertBudgetQuestionAnswering`, weights included. Another architecture, an activation other than
        GELU, a decoder, or untied embeddings of a masked-LM are a `ValueError`.
    """
    config = hf_model.config
    family = config.model_type
    name = type(hf_model).__name__
    task = next((task for task in TASKS if name.endswith(task)), None)
    if family not in FAMILIES or task is None:
        raise ValueError(
            f"{name} is not one of {', '.join(f'Bert{task}' for task in TASKS)}, nor the same of MegatronBert."
        )
    if config.hidden_act not in _ACTIVATIONS:
        raise ValueError(f"{name} has the activation {config.hidden_act!r}: only {sorted(_ACTIVATIONS)} are known.")
    if config.is_decoder or (task == "ForMaskedLM" and not config.tie_word_embeddings):
        raise ValueError(f"{name} is a decoder or has untied embeddings: only tied bidirectional encoders convert.")
    encoder = BertBudget(
        **{
            **_COMMON,
            **FAMILIES[family],
            **_arguments_of(config, _OF_TRANSFORMERS),
            "activation": _ACTIVATIONS[config.hidden_act],
            **kwargs,
        }
    )
    if task == "ForSequenceClassification":
        model = make_classifier(encoder, config, preprocessor=preprocessor, pair=pair)
    elif task == "ForTokenClassification":
        model = make_tagger(encoder, config, preprocessor)
    elif task == "Model":
        model = BertBudgetTextEmbedder(encoder, preprocessor)
    elif task == "ForQuestionAnswering":
        model = make_answerer(encoder, config, preprocessor)
    else:
        model = BertBudgetMaskedLM(encoder, preprocessor)
    assign_back(hf_model, model, family)
    return model


def to_torch(model):
    """Converts any model of ours to PyTorch, weights included.

    The nearest architectures in Transformers differ from crammed-BERT in a way that no choice of weights undoes:
    ModernBERT, NomicBERT and EuroBERT, gated and pre-norm, rotate queries and keys; RoBERTa-PreLayerNorm has no gate,
    and a head transform that cannot be the identity.

    Args:
        model: `BertBudgetMaskedLM`, `BertBudgetTextClassifier`, `BertBudgetTokenClassifier` or
            `BertBudgetQuestionAnswering`.

    Returns:
        `BudgetBertForMaskedLM`, or the same for another task, in evaluation mode and float32. Its `save_pretrained`
        writes the loader beside the weights, with the names of all its classes for `AutoModel...`.
    """
    import torch

    from budgetbert.models import modeling_budgetbert as modeling

    check_not_quantized(model)
    encoder = model.backbone
    task = task_name(model)
    hf_class = getattr(modeling, f"BudgetBert{task}")
    modeling.BudgetBertConfig.register_for_auto_class()
    hf_class.register_for_auto_class(auto_class(task))
    if isinstance(model, BertBudgetTextClassifier):
        head = {"pooler_size": model.pooler.units, **head_config(model)}
    elif not isinstance(model, BertBudgetMaskedLM):
        head = {"pooler_size": pooler_dim_of(encoder.get_config()), **head_config(model)}
    else:
        head = {
            "head_transform": model.head_transform,
            "output_bias": model.output_bias,
            "pooler_size": pooler_dim_of(encoder.get_config()),
        }
    hf_model = hf_class(
        modeling.BudgetBertConfig(
            **_config_of(encoder, _OF_TORCH),
            rotary_base=encoder.rotary_base if encoder.position == "rotary" else None,
            auto_map=_AUTO_MAP,
            **head,
        )
    )
    assign(hf_model, model, "budgetbert")
    if encoder.position == "scaled_sinusoidal":
        scale = float(ops.convert_to_numpy(encoder.embeddings.position_scale.value))
        table = scale * sinusoid(encoder.max_sequence_length, encoder.hidden_dim)
        with torch.no_grad():
            _encoder_of(hf_model).positions.weight.copy_(torch.from_numpy(table))
    return hf_model.eval()


def from_torch(hf_model, preprocessor=None, pair=False, **kwargs):
    """Converts what `to_torch` made, or what PyTorch trained it to, back to ours, weights included.

    Args:
        hf_model: `BudgetBertForMaskedLM`, or one of the other classes of `modeling_budgetbert.py` with a task.
        preprocessor: preprocessor of the result. Defaults to `None`.
        pair: bool. Whether a classifier reads two texts. Defaults to `False`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM` or the class of the other task. Positions in a table that is a
        scaled sinusoid come back as one, other tables as learned positions. Untied embeddings are a `ValueError`.
    """
    config = hf_model.config
    if not config.tie_word_embeddings:
        raise ValueError(f"{type(hf_model).__name__} has untied embeddings: only tied ones convert.")
    position, scale = _position_of(hf_model)
    encoder = BertBudget(**{**_arguments_of(config, _OF_TORCH), **position, **kwargs})
    if type(hf_model).__name__.endswith("ForSequenceClassification"):
        options = {"preprocessor": preprocessor, "pooler_dim": config.pooler_size, "pair": pair}
        model = make_classifier(encoder, config, **options)
    elif type(hf_model).__name__.endswith("ForTokenClassification"):
        model = make_tagger(encoder, config, preprocessor)
    elif type(hf_model).__name__.endswith("Model"):
        model = BertBudgetTextEmbedder(encoder, preprocessor)
    elif type(hf_model).__name__.endswith("ForQuestionAnswering"):
        model = make_answerer(encoder, config, preprocessor)
    else:
        heads = {"head_transform": config.head_transform, "output_bias": config.output_bias}
        model = BertBudgetMaskedLM(encoder, preprocessor, **heads)
    if scale is not None:
        encoder.embeddings.position_scale.assign(scale)
    assign_back(hf_model, model, "budgetbert")
    return model


def _position_of(hf_model):
    """Returns the arguments (dict) of `BertBudget` for the positions of a model, and the scale of a sinusoid if any."""
    if hf_model.config.rotary_base is not None:
        return {"position": "rotary", "rotary_base": hf_model.config.rotary_base}, None
    positions = _encoder_of(hf_model).positions.weight.detach().cpu().float().numpy()
    scale = positions[0, 1]  # The sinusoid is 1 there.
    if np.allclose(positions, scale * sinusoid(*positions.shape), rtol=0, atol=1e-3 * abs(scale)):
        return {"position": "scaled_sinusoidal"}, scale
    return {"position": "learned"}, None


def _encoder_of(hf_model):
    """Returns the `BudgetBertModel` of a task, or the model itself where it is one."""
    return getattr(hf_model, "budgetbert", hf_model)


def _config_of(encoder, names):
    """Returns the entries of a Hugging Face config (dict) that an encoder has under the names of a table."""
    dropout = encoder.dropout if encoder.attention_dropout is None else encoder.attention_dropout
    entries = {theirs: getattr(encoder, ours) for theirs, ours in names.items()}
    return {**entries, "attention_probs_dropout_prob": dropout}


def _arguments_of(config, names):
    """Returns the arguments of `BertBudget` (dict) that a Hugging Face config has under the names of a table."""
    arguments = {ours: getattr(config, theirs) for theirs, ours in names.items()}
    return {**arguments, "attention_dropout": config.attention_probs_dropout_prob}


def has_architecture(model):
    """Whether Transformers has an architecture with the same numbers as `model`."""
    encoder = model.backbone
    if isinstance(model, BertBudgetTextClassifier):
        head = model.pooler.units == encoder.hidden_dim
    else:
        head = getattr(model, "head_transform", True)
    return bool(encoder.num_segments and head and _fixed(encoder))


def _fixed(encoder):
    """Returns the family whose fixed choices `encoder` has, or `None`."""
    for family, fixed in FAMILIES.items():
        if all(getattr(encoder, key) == value for key, value in {**_COMMON, **fixed}.items()):
            return family
    return None


def _family(model):
    """Returns the Hugging Face model type of `model`."""
    if not has_architecture(model):
        raise ValueError(
            "Transformers has no architecture for this model: BERT and Megatron-BERT have biases, LayerNorm, learned "
            "positions, segments, an ungated feed-forward, and a head transform or a pooler as wide as the encoder."
        )
    return _fixed(model.backbone)
