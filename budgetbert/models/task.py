"""What the two tasks share beyond KerasHub's `Task`."""

import warnings

import keras

from budgetbert.models.arguments import check_arguments, own_arguments, refuse_hdf5
from budgetbert.models.bert_budget import BertBudget
from budgetbert.presets import PRESETS, preset_config

# What KerasHub's `Task` and Keras' functional model read, beyond the arguments of a task's own.
_PASSED_ON = ("name", "trainable", "compile")


def check_vocabulary(backbone, preprocessor):
    """Raises a `ValueError` where a preprocessor's vocabulary is not one that an encoder can have been trained with.

    Args:
        backbone: `BertBudget`.
        preprocessor: preprocessor with a `BertBudgetTokenizer`, or `None`.
    """
    # a vocabulary that is still to be loaded as an asset has no size yet
    if preprocessor is None or preprocessor.tokenizer.vocabulary is None:
        return
    size = preprocessor.tokenizer.vocabulary_size()
    if size > backbone.vocabulary_size:  # the table may be padded
        raise ValueError(
            f"The encoder has {backbone.vocabulary_size:,} token embeddings, the preprocessor's vocabulary "
            f"{size:,} entries: give the vocabulary that the model was trained with."
        )


class PresetTask:
    """Mixin for a `keras_hub.models.Task`: presets by name, and the state of `compile` in `.keras` files."""

    presets = PRESETS
    head_name = None
    _head_was_loaded = False

    def __init__(self, *args, **kwargs):
        check_arguments(type(self), kwargs, ("inputs", "outputs", *_PASSED_ON), BertBudget)
        super().__init__(*args, **kwargs)

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """A published architecture (`load_weights=False`), or a model from a preset directory or handle.

        Args:
            preset: string. A key of `presets`, or as `keras_hub.models.Task.from_preset`.
            load_weights: bool. Defaults to `True`, which is a `ValueError` for the keys of `presets`.
            **kwargs: arguments of this class (`preprocessor` is `None` unless given) and, for the keys of `presets`,
                of the encoder, as `vocabulary_size`, `dropout` or `dtype`. A classifier's `dropout` goes to both, its
                `activation` to its output alone.

        A head that the directory does not hold, because it is another task's or the encoder's alone, starts from random
        weights, with a warning.
        """
        passed_on = own_arguments(BertBudget) if preset in PRESETS else ["dtype"]
        check_arguments(cls, kwargs, (*_PASSED_ON, "load_weights", *passed_on), BertBudget)
        config = preset_config(preset, load_weights)
        if config is None:
            model = super().from_preset(preset, load_weights=load_weights, **kwargs)
            if load_weights and "num_classes" not in kwargs:  # which asks for a new head
                model._warn_of_a_random_head(preset)
            return model
        of_encoder = kwargs.keys() & own_arguments(BertBudget)
        of_task = kwargs.keys() - (of_encoder - set(own_arguments(cls)))
        of_encoder -= {"activation"} & of_task
        backbone = BertBudget(**{**config["backbone"], **{key: kwargs[key] for key in of_encoder}})
        return cls(backbone, **{**config[cls.head_name], **{key: kwargs[key] for key in of_task}})

    def preprocess_samples(self, x, y=None, sample_weight=None):
        length, positions = getattr(self.preprocessor, "sequence_length", None), self.backbone.max_sequence_length
        if length is not None and length > positions:  # TensorFlow's graph would fail on it in words of its own.
            raise ValueError(f"Rows of {length} tokens are longer than the model's {positions} positions.")
        return super().preprocess_samples(x, y, sample_weight)

    def save(self, filepath, *args, **kwargs):
        """As `keras.Model.save`; a path that ends in `.h5` or `.hdf5` is a `ValueError`."""
        refuse_hdf5(filepath)
        super().save(filepath, *args, **kwargs)

    def load_task_weights(self, filepath):
        super().load_task_weights(filepath)
        self._head_was_loaded = True

    def _warn_of_a_random_head(self, preset):
        """Warns if the directory, from which this model was loaded, had no weights for its head."""
        of_encoder = {id(variable) for variable in self.backbone.weights}
        head = [v.path for v in self.weights if id(v) not in of_encoder]
        if head and not self._head_was_loaded:
            warnings.warn(
                f"{preset} holds no head of a {type(self).__name__}: {', '.join(head)} start from random values, so "
                "train them before you use what the model predicts.",
                stacklevel=3,
            )

    def get_config(self):
        config = super().get_config()
        head = [layer for layer in self._flatten_layers(include_self=False) if layer.quantization_mode is not None]
        if head:
            # KerasHub tells of the encoder's quantized layers alone, by path; the head finds its own in the same map.
            encoder = config["backbone"]["config"]
            policies = keras.dtype_policies.get(encoder["dtype"])
            for layer in head:
                if layer.path not in policies:
                    policies[layer.path] = layer.dtype_policy
            encoder["dtype"] = keras.dtype_policies.serialize(policies)
        return config

    def get_compile_config(self):
        config = super().get_compile_config()
        if config.get("optimizer"):  # The flag stands inside, since what else stands here Keras gives to `compile`.
            config["optimizer"] = {**config["optimizer"], "built": self.optimizer.built}
        return config

    def compile_from_config(self, config):
        # Keras skips this, with a warning, for a class with a `compile` of its own. KerasHub's takes what Keras saves.
        built = (config.get("optimizer") or {}).get("built", config.get("optimizer_built"))
        config = keras.saving.deserialize_keras_object(config)
        config.pop("optimizer_built", None)  # where files of before have the flag
        # `jit_compile` is what suited the backend that saved: JAX's True would cost torch a minute of torch.compile.
        self.compile(**{**config, "jit_compile": "auto"})
        if built:  # else the file holds no slots, and a built optimizer would warn that it cannot load them
            self.optimizer.build(self.trainable_variables)
