"""What the two tasks share beyond KerasHub's `Task`."""

import inspect

import keras

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.presets import PRESETS, preset_config


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

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """A published architecture (`load_weights=False`), or a model from a preset directory or handle.

        Args:
            preset: string. A key of `presets`, or as `keras_hub.models.Task.from_preset`.
            load_weights: bool. Defaults to `True`, which is a `ValueError` for the keys of `presets`.
            **kwargs: arguments of this class (`preprocessor` is `None` unless given) and, for the keys of `presets`,
                of the encoder, as `vocabulary_size`, `dropout` or `dtype`. What both have (a classifier's `dropout`)
                goes to both.
        """
        config = preset_config(preset, load_weights)
        if config is None:
            return super().from_preset(preset, load_weights=load_weights, **kwargs)
        of_encoder = inspect.signature(BertBudget).parameters.keys() & kwargs.keys()
        of_task = kwargs.keys() - (of_encoder - inspect.signature(cls).parameters.keys())
        backbone = BertBudget(**{**config["backbone"], **{key: kwargs[key] for key in of_encoder}})
        return cls(backbone, **{**config[cls.head_name], **{key: kwargs[key] for key in of_task}})

    def get_compile_config(self):
        config = super().get_compile_config()
        return config and {**config, "optimizer_built": self.optimizer is not None and self.optimizer.built}

    def compile_from_config(self, config):
        # Keras skips this, with a warning, for a class with a `compile` of its own. KerasHub's takes what Keras saves.
        config = keras.saving.deserialize_keras_object(config)
        built = config.pop("optimizer_built", False)
        # `jit_compile` is what suited the backend that saved: JAX's True would cost torch a minute of torch.compile.
        self.compile(**{**config, "jit_compile": "auto"})
        if built:  # else the file holds no slots, and a built optimizer would warn that it cannot load them
            self.optimizer.build(self.trainable_variables)
