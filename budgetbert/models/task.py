"""What the two tasks share beyond KerasHub's `Task`."""

import contextlib
import sys
import warnings

import keras

from budgetbert.models.arguments import check_arguments, own_arguments, refuse_hdf5
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.datasets import as_pipeline, as_texts, is_dataset, preprocessed
from budgetbert.models.labelled_examples import batches_of, split_off, to_arrays
from budgetbert.presets import PRESETS, preset_config

# What KerasHub's `Task` and Keras' functional model read, beyond the arguments of a task's own.
_PASSED_ON = ("name", "trainable", "compile")


class RandomHead(UserWarning):
    """A model was loaded whose head, or a part of it, its files do not hold: it starts at random."""


def check_parts(cls, backbone, preprocessor):
    """Raises a `ValueError` where an encoder and a preprocessor do not make a task.

    Args:
        cls: class of the task.
        backbone: `BertBudget`, or what was given in its place.
        preprocessor: preprocessor with a `BertBudgetTokenizer`, of a vocabulary that the encoder can have been trained
            with, or `None`.
    """
    if not isinstance(backbone, BertBudget):
        mend = "give its .backbone" if hasattr(backbone, "backbone") else "give a BertBudget, or call from_preset()"
        if isinstance(backbone, keras.Model) and not hasattr(backbone, "backbone"):  # as `clone_model` makes of one
            mend = "a copy of an encoder is BertBudget.from_config(encoder.get_config())"
        raise ValueError(f"The backbone of a {cls.__name__} is an encoder, not a {type(backbone).__name__}: {mend}.")
    if preprocessor is not None and not isinstance(preprocessor, cls.preprocessor_cls.__bases__[-1]):
        raise ValueError(
            f"A {type(preprocessor).__name__} is no preprocessor of a {cls.__name__}: give "
            f"{cls.preprocessor_cls.__name__}(tokenizer), or None for token ids."
        )
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
    # The argument without which a new head cannot be made, and with which a new one is asked for.
    head_argument = "num_classes"
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
            try:
                model = super().from_preset(preset, load_weights=load_weights, **kwargs)
            except TypeError as error:
                if cls.head_argument not in str(error):
                    raise
                raise ValueError(
                    f"{preset} holds no {cls.__name__}, so that its head is new: give {cls.head_argument}."
                ) from error
            if load_weights and cls.head_argument not in kwargs:  # which asks for a new head
                model._warn_of_a_random_head(preset)
            return model
        of_encoder = kwargs.keys() & own_arguments(BertBudget)
        of_task = kwargs.keys() - (of_encoder - set(own_arguments(cls)))
        of_encoder -= {"activation"} & of_task
        backbone = BertBudget(**{**config["backbone"], **{key: kwargs[key] for key in of_encoder}})
        return cls(backbone, **{**config[cls.head_name], **{key: kwargs[key] for key in of_task}})

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        sample_weight=None,
        validation_data=None,
        validation_split=None,
        *,
        epochs=None,
        shuffle=True,
        **kwargs,
    ):
        """As `keras.Model.fit`, on texts, which are shuffled every epoch.

        Args:
            x: list, array or pandas Series of strings, a tuple of two of them, or a batched dataset of `tf.data`, grain
                or Keras (`PyDataset`), which passes in its own order. Inputs of the model if it has no preprocessor.
            y: labels, one for each example.
            batch_size: int. Defaults to `32`.
            sample_weight: array of float, one for each example.
            validation_data: tuple as `(x, y)`, texts alone, or a dataset.
            validation_split: float. The share at the end of the examples to validate with, as in Keras before any
                shuffling.
            epochs: int. Defaults to `1`.
            shuffle: bool. Defaults to `True`.
            **kwargs: as `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.
        """
        if not is_dataset(x):
            examples = self._examples(x, y, sample_weight)
            if validation_split and validation_data is None:
                examples, validation_data = split_off(examples, validation_split)
            batch_size, epochs = self._defaults(len(keras.tree.flatten(examples)[0]), batch_size, epochs)
            x = batches_of(examples, batch_size, shuffle)
            # They are split, batched, weighted and in their order already.
            y = batch_size = sample_weight = validation_split = None
            shuffle = False
        validation_data = self._held_out(validation_data, kwargs.pop("validation_batch_size", None))
        kwargs = {**kwargs, "epochs": 1 if epochs is None else epochs, "shuffle": shuffle}
        with self._training(x, kwargs):
            if not isinstance(x, keras.utils.PyDataset):
                arguments = (as_pipeline(x), y, batch_size, sample_weight, validation_data, validation_split)
                return super().fit(*arguments, **kwargs)
            if any(given is not None for given in (y, batch_size, sample_weight, validation_split)):
                raise ValueError("A PyDataset has its own batches and labels: give none beside it.")
            if validation_data is not None:
                validation_data = preprocessed(validation_data, self.preprocess_samples)
            x = preprocessed(x, self.preprocess_samples)
            return keras.Model.fit(self, x, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs):
        """As `keras.Model.evaluate`, on texts and labels as `fit` takes them."""
        if is_dataset(x):
            x = as_pipeline(x)
        elif not kwargs.get("_use_cached_eval_dataset"):  # else `fit` has preprocessed them
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(self._examples(x, y, sample_weight))
        return super().evaluate(x, y, batch_size, sample_weight, **kwargs)

    def predict(self, x=None, batch_size=None, **kwargs):
        """As `keras.Model.predict`, on texts; one string that is not in a list, or a pair, is a batch of one."""
        if is_dataset(x):
            x = as_pipeline(x)
        elif self.preprocessor is not None:
            self._check_texts(x)
            x = as_texts(x, alone=True)
        return super().predict(x, batch_size, **kwargs)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        length, positions = getattr(self.preprocessor, "sequence_length", None), self.backbone.max_sequence_length
        if length is not None and length > positions:  # TensorFlow's graph would fail on it in words of its own.
            raise ValueError(f"Rows of {length} tokens are longer than the model's {positions} positions.")
        if self.preprocessor is not None:
            self._check_texts(x)
            if not _is_symbolic(x):
                x = keras.tree.map_structure(lambda texts: texts.tolist(), as_texts(x, alone=y is None))
        return super().preprocess_samples(x, y, sample_weight)

    def _check_texts(self, x):
        """Raises a `ValueError` for texts of a kind that the task does not read."""

    def _examples(self, x, y, sample_weight):
        """Texts, labels and weights, as far as there are any, as arrays."""
        if self.preprocessor is not None:
            self._check_texts(x)
            x = as_texts(x)
        return to_arrays(keras.utils.pack_x_y_sample_weight(x, y, sample_weight))

    def _held_out(self, examples, batch_size):
        """`validation_data` as a dataset."""
        if examples is None or is_dataset(examples):
            return examples if examples is None else as_pipeline(examples)
        is_texts = isinstance(examples, list) and all(isinstance(text, (str, bytes)) for text in examples)
        parts = (examples,) if is_texts or not isinstance(examples, (list, tuple)) else tuple(examples)
        examples = self._examples(*keras.utils.unpack_x_y_sample_weight(parts))
        return batches_of(examples, batch_size or 32, shuffle=False)

    def _defaults(self, examples, batch_size, epochs):
        """Batch size and epochs of `fit` on a number of examples."""
        return batch_size or 32, epochs

    def _training(self, dataset, options):
        """The context of one `fit`."""
        return contextlib.nullcontext()

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
                RandomHead,
                stacklevel=3,
            )

    def quantize(self, mode=None, *args, **kwargs):
        """As `keras.Model.quantize`; files and folders of `save_to_preset` then hold what was quantized."""
        super().quantize(mode, *args, **kwargs)
        encoder = self.backbone
        policies = encoder.dtype_policy
        if not isinstance(policies, keras.dtype_policies.DTypePolicyMap):
            policies = keras.dtype_policies.DTypePolicyMap(default_policy=policies)
            encoder.dtype_policy = policies
        # KerasHub tells of the encoder's quantized layers alone, by path; the head finds its own in the same map.
        for layer in self._flatten_layers(include_self=False):
            if layer.quantization_mode is not None:
                if layer.path in policies:
                    del policies[layer.path]
                policies[layer.path] = layer.dtype_policy

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


def _is_symbolic(x):
    """Whether texts are tensors of a TensorFlow graph that is being built, whose values nobody knows yet."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not hasattr(tensorflow, "executing_eagerly") or tensorflow.executing_eagerly():
        return False
    return any(tensorflow.is_tensor(part) for part in keras.tree.flatten(x))
