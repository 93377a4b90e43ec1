"""One rule for every optimizer: which variables decay, which are several matrices in one, which are hidden matrices.

All of it follows from a variable's path and shape, and from whole components of the path: Keras itself matches names
against full paths on TensorFlow and against last components elsewhere.
"""

# The last component of a variable's path. 24hBERT and Cramming's final code decay neither biases nor the gains and
# offsets of norms; they do decay embeddings and Cramming's position scale (named `position_scale`).
NOT_DECAYED = ("bias", "gamma", "beta", "scale")

# The layers whose kernel is several of the papers' side by side, [q | k | v] and [input | gate].
_PARTS = {"qkv": 3, "gated_intermediate": 2}

# The layers between the encoder and the loss.
_HEADS = {"masked_lm_head", "pooler", "logits"}


def last_component(variable):
    """Returns the name of a variable in its layer: `"kernel"` for `block_0/attention/qkv/kernel`."""
    return variable.path.rsplit("/", 1)[-1]


def is_decayed(variable):
    """Returns whether weight decay applies to a variable.

    Args:
        variable: `keras.Variable`.

    Source: Izsak et al. 2021, `pretraining/optimizers.py`; Geiping & Goldstein 2022, `train/optim` (v2).
    """
    return last_component(variable) not in NOT_DECAYED


def count_parts(variable):
    """Returns how many equal parts, side by side along its last axis, a variable is to be treated as.

    The papers have a kernel (and a bias) each for queries, keys and values, and for the two halves of a gated
    feed-forward network. Whatever works by matrix, as LAMB's norms or Muon, must see them so.

    Args:
        variable: `keras.Variable`.

    Returns:
        int: 3 for kernel and bias of `qkv`, 2 for those of a gated feed-forward network's first layer, else 1.
    """
    layer = variable.path.split("/")[-2:-1]
    return _PARTS.get(layer[0], 1) if layer else 1


def is_hidden_matrix(variable):
    """Returns whether a method for hidden matrices, as Muon, may take a variable: the 2-D kernels of the encoder, but
    neither embeddings nor what belongs to a head.

    Args:
        variable: `keras.Variable`.

    Source: Jordan et al. 2024 (Muon), "Usage considerations".
    """
    components = variable.path.split("/")
    return len(variable.shape) == 2 and components[-1] == "kernel" and _HEADS.isdisjoint(components)


def exclude_from_weight_decay(optimizer, variables):
    """Tells an optimizer which of the `variables` not to decay. To be called before the optimizer is built.

    Ours carry their exclusions in their config and are left as they are. Those of Keras are told by identity, and
    forget it in `get_config`.

    Args:
        optimizer: `keras.optimizers.Optimizer`.
        variables: list of `keras.Variable`.
    """
    if not hasattr(optimizer, "is_decayed"):
        optimizer.exclude_from_weight_decay(var_list=[variable for variable in variables if not is_decayed(variable)])
