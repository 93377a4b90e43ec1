"""Models of an architecture that Transformers lacks, as the PyTorch module that `modeling_budgetbert.py` defines."""

from keras import ops

from budgetbert.export.transformers import assign, classifier_config, dense_names, norm_names
from budgetbert.layers.embedding import sinusoid
from budgetbert.models import BertBudgetTextClassifier


def to_torch(model):
    """Converts any model of ours to PyTorch, weights included.

    The nearest architectures in Transformers differ from crammed-BERT in a way that no choice of weights undoes:
    ModernBERT, NomicBERT and EuroBERT, gated and pre-norm, rotate queries and keys; RoBERTa-PreLayerNorm has no gate,
    and a head transform that cannot be the identity.

    Args:
        model: `BertBudgetMaskedLM` or `BertBudgetTextClassifier`.

    Returns:
        `BudgetBertForMaskedLM` or `BudgetBertForSequenceClassification` in evaluation mode and float32. Its
        `save_pretrained` writes the loader beside the weights.
    """
    import torch

    from budgetbert.export import modeling_budgetbert as modeling

    encoder = model.backbone
    classifies = isinstance(model, BertBudgetTextClassifier)
    task = "ForSequenceClassification" if classifies else "ForMaskedLM"
    hf_class = getattr(modeling, f"BudgetBert{task}")
    modeling.BudgetBertConfig.register_for_auto_class()
    hf_class.register_for_auto_class(f"AutoModel{task}")
    head = (
        {"pooler_size": model.pooler.units, **classifier_config(model)}
        if classifies
        else {"head_transform": model.head_transform, "output_bias": model.output_bias}
    )
    hf_model = hf_class(
        modeling.BudgetBertConfig(
            vocab_size=encoder.vocabulary_size,
            hidden_size=encoder.hidden_dim,
            num_hidden_layers=encoder.num_layers,
            num_attention_heads=encoder.num_heads,
            intermediate_size=encoder.intermediate_dim,
            max_position_embeddings=encoder.max_sequence_length,
            type_vocab_size=encoder.num_segments,
            norm_placement=encoder.norm_placement,
            norm=encoder.norm,
            norm_epsilon=encoder.norm_epsilon,
            use_bias=encoder.use_bias,
            activation=encoder.activation,
            gated=encoder.gated,
            embedding_norm=encoder.embedding_norm,
            final_norm=encoder.final_norm,
            **head,
        )
    )
    assign(hf_model, _correspondence(model))
    if encoder.position == "scaled_sinusoidal":
        scale = float(ops.convert_to_numpy(encoder.embeddings.position_scale.value))
        table = sinusoid(encoder.max_sequence_length, encoder.hidden_dim) * scale
        with torch.no_grad():
            hf_model.positions.weight.copy_(torch.from_numpy(table))
    return hf_model.eval()


def _correspondence(model):
    """Yields each variable of `model` with its name in PyTorch, in a list of one."""
    encoder, embeddings = model.backbone, model.backbone.embeddings
    for table, name in (
        (embeddings.token_table, "tokens"),
        (embeddings.position_table, "positions"),
        (embeddings.segment_table, "segments"),
    ):
        if table is not None:
            yield table.embeddings, [f"{name}.weight"]
    norms = [(embeddings.norm_layer, "embedding_norm"), (encoder.final_norm_layer, "final_norm")]
    dense = []
    for i, block in enumerate(encoder.transformer_layers):
        prefix = f"blocks.{i}"
        norms += [
            (block.attention_norm, f"{prefix}.attention_norm"),
            (block.feed_forward_norm, f"{prefix}.feed_forward_norm"),
        ]
        dense += [
            (block.attention.qkv, f"{prefix}.qkv"),
            (block.attention.output_projection, f"{prefix}.attention_output"),
            (block.feed_forward.intermediate, f"{prefix}.intermediate"),
            (block.feed_forward.output_projection, f"{prefix}.output"),
        ]
    if isinstance(model, BertBudgetTextClassifier):
        dense += [(model.pooler, "pooler"), (model.logits, "classifier")]
    elif model.head_transform:
        dense.append((model.head.transform_dense, "transform"))
        norms.append((model.head.transform_norm, "transform_norm"))
    for layer, name in dense:
        yield from dense_names(layer, name)
    for layer, name in norms:
        if layer is not None:
            yield from norm_names(layer, name)
    if getattr(model, "output_bias", False):
        yield model.head.bias, ["output_bias"]
