"""Model FLOPs: what a step of training computes, as a pure function of the architecture."""


def block_weights(config):
    """Returns the number (int) of weights of the blocks' matrices: what computes, without embeddings and head.

    Args:
        config: dict, the configuration of a preset's backbone.
    """
    return sum(_weights_by_part(config).values())


def _weights_by_part(config):
    layers, width, inner = config["num_layers"], config["hidden_dim"], config["intermediate_dim"]
    outer = inner // 2 if config.get("gated") else inner
    return {"attention": layers * 4 * width * width, "feed_forward": layers * width * (inner + outer)}


def training_flops_by_part(config, sequence_length, predictions_per_row):
    """`training_flops_per_token` as a dict of its parts: `attention`, `feed_forward` and `head`."""
    width, weights = config["hidden_dim"], _weights_by_part(config)
    head = width * config["vocabulary_size"] + (width * width if config.get("head_transform", True) else 0)
    return {
        "attention": 6 * weights["attention"] + 12 * config["num_layers"] * sequence_length * width,
        "feed_forward": 6 * weights["feed_forward"],
        "head": 6 * predictions_per_row / sequence_length * head,
    }


def training_flops_per_token(config, sequence_length, predictions_per_row):
    """FLOPs of one training step (forward and backward) per token of the rows.

    6 N + 12 L s d + 6 p (d V + d^2): N are the weights of the blocks' matrices, L layers of width d, s the sequence
    length, p the share of positions that pass the masked-LM head, whose transform is the d^2.

    Args:
        config: dict, the configuration of a `BertBudgetMaskedLM` preset (see `budgetbert.presets`).
        sequence_length: int. Tokens per row.
        predictions_per_row: int. Positions per row that pass the masked-LM head.

    Source: Kaplan et al. 2020, section 2.1, with the attention products and the head written out.
    """
    return sum(training_flops_by_part(config, sequence_length, predictions_per_row).values())
