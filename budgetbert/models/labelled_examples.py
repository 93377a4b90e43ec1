"""Labelled examples as `fit` and `evaluate` take them: arrays, classes, and batches in a new order every epoch."""

import math
import random
import sys

import grain
import keras
import numpy as np

_NUMBERS = (bool, int, float, np.bool_, np.integer, np.floating)
_SHAPE = (
    "Labels of the shape {} are not one class for each text: give numbers or names, as labels.argmax(-1) makes them of "
    "one-hot rows, or compile the classifier with the loss that such labels are for."
)
_UNNAMED = "is a string, and the classifier has no label_names: make it with label_names=[...], or give numbers."


def to_arrays(examples):
    """Turns lists, pandas Series and tensors into NumPy arrays of one length.

    Args:
        examples: array-like, or a tuple or dict of such. A list is one array, as for KerasHub.

    Returns:
        The same structure of arrays. Numbers without a dtype get one of 32 bits.

    Raises:
        ValueError: if one has no first dimension, or the lengths differ, or there is nothing in them.
    """
    arrays = _map(_to_array, examples)
    leaves = keras.tree.flatten(arrays)
    if any(leaf.ndim == 0 for leaf in leaves):
        raise ValueError("Texts and labels must be lists or arrays, one entry for each example, not a single value.")
    lengths = [len(leaf) for leaf in leaves]
    if len(set(lengths)) > 1:
        raise ValueError(f"Texts, labels and weights must be equally many, not {', '.join(map(str, lengths))}.")
    if not lengths[0]:
        raise ValueError("There are no examples: texts and labels are empty.")
    return arrays


def _map(function, examples):
    if isinstance(examples, tuple):
        return tuple(_map(function, part) for part in examples)
    if isinstance(examples, dict):
        return {name: _map(function, part) for name, part in examples.items()}
    return function(examples)


def _to_array(values):
    if keras.ops.is_tensor(values):
        return keras.ops.convert_to_numpy(values)
    if hasattr(values, "dtype"):
        return np.asarray(values)
    if isinstance(values, (list, tuple)) and any(isinstance(value, (str, bytes)) for value in values):
        # NumPy's own strings are all as long as the longest, in 4 bytes a character.
        array = np.empty(len(values), object)
        array[:] = values
        return array
    array = np.array(values)
    if array.dtype == "int64" and array.size and np.abs(array).max() > np.iinfo("int32").max:
        return array
    return array.astype({"float64": "float32", "int64": "int32"}.get(array.dtype.name, array.dtype))


def check_texts(texts):
    """Raises a `ValueError` where one of the entries of an array, or of a tuple of arrays, is no text."""
    for array in keras.tree.flatten(texts):
        if array.ndim != 1:
            raise ValueError(
                f"Texts have the shape {array.shape}: give one string for each example, of a table one column, as "
                'table["text"].'
            )
        for place, text in enumerate(array.flat):
            if not isinstance(text, (str, bytes)):
                raise ValueError(f"Text {place} is {text}: give strings, and leave out what is missing.")


def classes_of(labels, num_classes, label_names=None, sparse=True, ignored=None):
    """Turns the labels of a classification into numbers of classes.

    Args:
        labels: array-like `[examples]` or `[examples, 1]` of numbers, or of strings that are `label_names`; or a tensor
            of a `tf.data` pipeline. Numbers for regression are left as they are, and other shapes (one-hot) where the
            loss takes them.
        num_classes: int.
        label_names: list of str, or `None` (default).
        sparse: bool. Whether the loss takes numbers of classes, so that others are refused. Defaults to `True`.
        ignored: int. A number that is allowed beside the classes. Defaults to `None`.

    Returns:
        int32 array of the same shape.

    Raises:
        ValueError: if a label is none of the classes, or has a shape that is not for this loss. Of a value in a
            `tf.data` pipeline it is TensorFlow's `InvalidArgumentError` with the same words.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and tensorflow.is_tensor(labels) and not tensorflow.executing_eagerly():
        return _classes_in_graph(tensorflow, labels, num_classes, label_names, sparse, ignored)
    labels = _to_array(labels)
    if labels.shape[1:] not in ((), (1,)):
        if sparse and num_classes > 1:
            raise ValueError(_SHAPE.format(labels.shape))
        return labels
    if any(isinstance(label, (str, bytes)) for label in labels.flat):
        return _named_classes(labels, label_names)
    if not sparse or num_classes == 1:
        return labels
    for label in labels.flat:
        if not _is_class(label, num_classes) and (ignored is None or label != ignored):
            raise ValueError(f"The label {label} {_none_of(num_classes)}")
    return labels.astype("int32")


def _is_class(label, num_classes):
    return isinstance(label, _NUMBERS) and 0 <= label < num_classes and label == int(label)


def _none_of(num_classes):
    known = "0 or 1" if num_classes == 2 else f"0 to {num_classes - 1}"
    return f"is none of the {num_classes} classes: give {known}, or the strings of label_names."


def _named_classes(labels, label_names):
    if label_names is None:
        raise ValueError(f"The label {labels.flat[0]!r} {_UNNAMED}")
    numbers = {name: number for number, name in enumerate(label_names)}
    found = np.empty(labels.size, "int32")
    for place, label in enumerate(labels.flat):
        name = label.decode("utf-8") if isinstance(label, bytes) else label
        if name not in numbers:
            raise ValueError(f"The label {name!r} is none of label_names: {', '.join(map(repr, label_names))}.")
        found[place] = numbers[name]
    return found.reshape(labels.shape)


def _classes_in_graph(tensorflow, labels, num_classes, label_names, sparse, ignored):
    if labels.shape.rank not in (0, 1) and labels.shape[-1] != 1:
        if sparse and num_classes > 1 and labels.shape.rank is not None:
            raise ValueError(_SHAPE.format(labels.shape))
        return labels
    if labels.dtype == tensorflow.string:
        if label_names is None:
            raise ValueError(f"A label of the dataset {_UNNAMED}")
        matches = tensorflow.equal(labels[..., None], label_names)
        words = f"A label of the dataset is none of label_names: {', '.join(map(repr, label_names))}."
        tensorflow.debugging.Assert(tensorflow.reduce_all(tensorflow.reduce_any(matches, -1)), [words, labels])
        return tensorflow.argmax(matches, -1, tensorflow.int32)
    if sparse and num_classes > 1:
        numbers = tensorflow.cast(labels, tensorflow.int32)
        known = (numbers >= 0) & (numbers < num_classes)
        known = known if ignored is None else known | (numbers == ignored)
        words = f"A label of the dataset {_none_of(num_classes)}"
        tensorflow.debugging.Assert(tensorflow.reduce_all(known), [words, labels])
    return labels


def split_off(arrays, share):
    """Splits arrays as Keras' `validation_split` does: the last `share` of the examples is the second part.

    Raises:
        ValueError: if a part would be empty.
    """
    count = len(keras.tree.flatten(arrays)[0])
    first = math.floor(count * (1.0 - share))
    if not 0 < first < count:
        raise ValueError(
            f"validation_split={share} of {count} examples leaves none to train on or none to validate with: give "
            "another share, or validation_data."
        )
    return _map(lambda array: array[:first], arrays), _map(lambda array: array[first:], arrays)


def batches_of(arrays, batch_size, shuffle):
    """Returns a `grain.MapDataset` of the batches of one epoch; repeated, each epoch has another order.

    Args:
        arrays: tuple of arrays, dicts or tuples of such, of one length.
        batch_size: int.
        shuffle: bool. The order follows from `keras.utils.set_random_seed`.
    """
    places = grain.MapDataset.range(len(keras.tree.flatten(arrays)[0]))
    if shuffle:
        places = places.shuffle(seed=random.getrandbits(31))
    return places.batch(batch_size).map(lambda chosen: _map(lambda array: array[chosen], arrays))


def count_batches(dataset):
    """Returns the batches (int) of one pass over a dataset, or `None` where it does not know or has no end."""
    try:
        count = len(dataset)
    except TypeError:
        return None
    return count if 0 < count < sys.maxsize else None
