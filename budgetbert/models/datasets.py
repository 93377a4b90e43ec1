"""Texts and datasets as `fit`, `evaluate` and `predict` are given them, in the forms that KerasHub takes."""

import functools
import sys

import grain
import keras

from budgetbert.models.labelled_examples import check_texts, to_arrays

_TAKEN = (
    "lists, arrays or columns of strings, a batched tf.data or grain dataset, or a keras.utils.PyDataset of batches"
)


def is_dataset(x):
    """Whether `x` is a dataset of TensorFlow, grain or Keras."""
    tensorflow = sys.modules.get("tensorflow")
    return isinstance(x, (grain.MapDataset, grain.IterDataset, keras.utils.PyDataset)) or (
        tensorflow is not None and isinstance(x, tensorflow.data.Dataset)
    )


def as_pipeline(dataset):
    """Returns a dataset over which KerasHub can map the preprocessing: a `PyDataset` as one of grain's, others as is.

    Raises:
        ValueError: if the dataset gives single examples, or a `PyDataset` does not know how many batches it has.
    """
    if isinstance(dataset, keras.utils.PyDataset):
        return grain.MapDataset.source(_Batches(dataset))
    if isinstance(dataset, grain.MapDataset) and len(dataset):
        single = [not hasattr(leaf, "__len__") or isinstance(leaf, (str, bytes)) for leaf in _leaves(dataset[0])]
    else:
        specs = keras.tree.flatten(getattr(dataset, "element_spec", ()))
        single = [spec.shape.rank == 0 for spec in specs]
    if any(single):
        raise ValueError("The dataset gives single examples: batch it, as with dataset.batch(16).")
    return dataset


class _Batches:
    """A `PyDataset` as a source of grain's, which asks for items by numbers of its own kind."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.count = number_of_batches(dataset)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return _unlisted(self.dataset[int(index)])


def number_of_batches(dataset):
    """Returns the number of batches (int) of a `PyDataset`."""
    try:
        return int(dataset.num_batches)
    except (NotImplementedError, TypeError, OverflowError) as error:  # None and infinity are no int.
        raise ValueError("The PyDataset does not know how many batches it has: give it a __len__.") from error


def _unlisted(batch):
    """A batch whose parts are a tuple, and whose lists are arrays, as grain does not tell one from the other."""
    is_texts = isinstance(batch, list) and all(isinstance(item, (str, bytes)) for item in batch)
    return to_arrays(tuple(batch) if isinstance(batch, list) and not is_texts else batch)


def _leaves(batch):
    """The parts of a batch; a list is one part, as for KerasHub."""
    if isinstance(batch, dict):
        batch = tuple(batch.values())
    return [leaf for part in batch for leaf in _leaves(part)] if isinstance(batch, tuple) else [batch]


def preprocessed(dataset, preprocess):
    """Returns a dataset that Keras' own `fit` takes, whose batches are preprocessed when they are asked for.

    Args:
        dataset: `keras.utils.PyDataset`, or a dataset of batches of `tf.data` or grain.
        preprocess: function of x, y and sample weight, as `preprocess_samples` of a task.
    """
    if hasattr(dataset, "element_spec"):
        return dataset.map(preprocess)
    if isinstance(dataset, grain.IterDataset):
        return dataset.map(functools.partial(_preprocess_batch, preprocess))
    return Preprocessed(dataset, preprocess)


def _preprocess_batch(preprocess, batch):
    """Returns a batch after preprocessing as a tuple of arrays of NumPy, labels and weights as far as there are any."""
    batch = preprocess(*keras.utils.unpack_x_y_sample_weight(_unlisted(batch)))
    batch = batch if isinstance(batch, tuple) else (batch,)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, batch)


class Preprocessed(keras.utils.PyDataset):
    """The batches of a dataset after preprocessing, so that Keras trains on it as on any other `PyDataset`.

    Keras then shuffles the order of the batches and calls `on_epoch_begin` and `on_epoch_end` between two epochs, which
    a pipeline that reads ahead could not do in time.

    Args:
        dataset: `keras.utils.PyDataset`, or a `grain.MapDataset` of batches.
        preprocess: function of x, y and sample weight, as `preprocess_samples` of a task.
    """

    def __init__(self, dataset, preprocess):
        super().__init__(workers=getattr(dataset, "workers", 1), max_queue_size=getattr(dataset, "max_queue_size", 10))
        self.dataset = dataset
        self.preprocess = preprocess
        self.count = len(dataset) if isinstance(dataset, grain.MapDataset) else number_of_batches(dataset)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return _preprocess_batch(self.preprocess, self.dataset[index])

    def on_epoch_begin(self):
        if isinstance(self.dataset, keras.utils.PyDataset):
            self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        if isinstance(self.dataset, keras.utils.PyDataset):
            self.dataset.on_epoch_end()


def as_texts(x, alone=False):
    """Turns what a user gives as texts, a list or column or a tuple of two of them, into arrays.

    Args:
        x: what was given.
        alone: bool. Whether one string, or a tuple of two, may stand for a list of one. Defaults to `False`.

    Raises:
        ValueError: if one of the texts is no string, or what is given cannot be read as texts.
    """
    parts = x if isinstance(x, tuple) else (x,)
    for part in parts:
        if isinstance(part, dict) or not hasattr(part, "__getitem__"):
            raise ValueError(
                f"Texts are {_TAKEN}. Received: {type(part).__name__}. (Token ids are for a model whose `preprocessor` "
                "is None.)"
            )
    if alone and all(isinstance(part, (str, bytes)) for part in parts):
        x = tuple([part] for part in parts) if isinstance(x, tuple) else [x]
    arrays = to_arrays(x)
    check_texts(arrays)
    return arrays
