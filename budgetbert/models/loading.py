"""Reading a trained model, with one sentence for each thing that can be wrong with it."""

import json
import os
import warnings
import zipfile

import keras
import numpy as np

from budgetbert.errors import InputError, one_line
from budgetbert.models import sizes
from budgetbert.models.logits import is_binary

_PARTS = {"config.json", "metadata.json", "model.weights.h5"}
_TASKS = (
    "BertBudgetMaskedLM",
    "BertBudgetTextClassifier",
    "BertBudgetTokenClassifier",
    "BertBudgetQuestionAnswering",
    "BertBudgetTextEmbedder",
)
_HEADS = tuple(f"budgetbert>{name}" for name in _TASKS)


def load_trained(path):
    """Loads a `.keras` file of one of our tasks.

    What the file says it is, is checked before Keras builds anything of it, and Keras then reads it in safe mode, which
    runs no code from the file.

    Args:
        path: string. A `.keras` file with a tokenizer inside.

    Returns:
        One of our tasks, as `BertBudgetMaskedLM`.

    Raises:
        InputError: if there is no such file, it is truncated or tampered with, is another kind of model, or has no
            vocabulary.
    """
    head, loss = _read_head(path)
    if head not in _HEADS:
        raise InputError(
            f"--model {path} holds a {head.split('>')[-1][:100]}: only a {', a '.join(_TASKS[:-1])} or a {_TASKS[-1]} "
            "will do."
        )
    try:
        # A task compiles itself with a new optimizer, which the saved state does not fit.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        # The loss says what the logits mean, which exports have to know.
        if is_binary(loss):
            model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    # Keras raises whatever the damaged part leads to.
    except Exception as error:
        raise InputError(
            f"--model {path} does not load in safe mode, so it is damaged or was tampered with ({_told(error)}): give "
            "the file as training wrote it."
        ) from error
    check_vocabulary(model, f"--model {path}")
    _check_use(model, path)
    return model


def load_result(path):
    """Loads the `model.keras` of a finished run.

    Raises:
        InputError: if it is not there, cannot be read, or is no masked-LM.
    """
    try:
        model = load_trained(path)
        if type(model).__name__ != "BertBudgetMaskedLM":
            raise InputError(f"it holds a {type(model).__name__}")
    except InputError as error:
        raise InputError(
            f"{path} of a finished run cannot be loaded ({one_line(error).rstrip('.')}): put the model.keras of its "
            "last checkpoint there, or train in another directory."
        ) from error
    return model


def load_any(path):
    """Loads a `.keras` file, a folder of `save_to_preset`, or a BERT or Megatron-BERT checkpoint of Hugging Face.

    What it says of itself is held against its size first (`budgetbert.models.sizes`).

    Args:
        path: string.

    Returns:
        One of our tasks, as `BertBudgetMaskedLM`, with a vocabulary.

    Raises:
        InputError: as `load_trained`, or if a folder holds no such model, or one of Hugging Face whose packages are
            not installed.
    """
    if not os.path.isdir(path):
        return load_trained(path)
    try:
        sizes.check_folder(path)
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        if not isinstance(config, dict):
            raise ValueError("no JSON object")
    except sizes.TooLarge as error:
        raise _too_large(path, error) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"--model {path} is a folder without a readable config.json: give a model.keras, a folder of "
            "save_to_preset, or a BERT checkpoint of Hugging Face."
        ) from error
    try:
        if "registered_name" in config:
            model = _class_of_preset(path).from_preset(path)
        else:
            from budgetbert.models.hugging_face_checkpoint import load_transformers

            model = load_transformers(path)
    except ImportError as error:
        raise InputError(
            f"--model {path} needs {error.name}, which is not installed: pip install 'budgetbert[transformers]'."
        ) from error
    # The readers of weights and tokenizers raise whatever the damaged part leads to.
    except Exception as error:
        raise InputError(
            f"--model {path} cannot be taken over ({_told(error)}): give a BERT-type checkpoint that is whole."
        ) from error
    check_vocabulary(model, f"--model {path}")
    _check_use(model, path)
    return model


def _class_of_preset(path):
    """Returns the class of the task that a folder of `save_to_preset` holds, a masked-LM where it does not say."""
    from budgetbert import models

    try:
        with open(os.path.join(path, "task.json"), encoding="utf-8") as file:
            name = json.load(file)["registered_name"]
    # The folder of an encoder alone has no task.json.
    except OSError:
        name = ""
    return getattr(models, next((task for task in _TASKS if name.endswith(f">{task}")), _TASKS[0]))


def check_vocabulary(model, name="The model"):
    """Raises an `InputError` if `model` has no vocabulary; `name` is what the sentence calls it."""
    if model.preprocessor is None or model.preprocessor.tokenizer.vocabulary is None:
        raise InputError(
            f"{name} has no vocabulary: give it a preprocessor with the tokenizer that it was trained with, and save "
            "it again."
        )


def _check_use(model, path):
    """Raises an `InputError` where a model has settings that it takes in and cannot work with, or weights of NaN."""
    try:
        for name in ("sequence_length", "mask_selection_length"):
            value = getattr(model.preprocessor, name, 1)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r:.50}")
        ids = [int(token) for token in model.preprocessor.tokenizer("a [MASK]")]
        inputs = {"token_ids": np.array([ids], np.int32), "padding_mask": None, "segment_ids": None}
        if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(model.backbone(inputs), "float32"))).all():
            raise ValueError("what it computes is not finite")
    # The tokenizer and the layers raise whatever the setting leads to.
    except Exception as error:
        raise InputError(
            f"--model {path} loads and does not work, so it is damaged or was tampered with ({_told(error)}): give it "
            "as it was written."
        ) from error


def _told(error):
    """Returns the type and the message of an error in one line."""
    return f"{type(error).__name__}: {one_line(error)}"


def _read_head(path):
    """Returns the registered name of the class in a `.keras` file, and its serialised loss or `None`."""
    try:
        sizes.check_regular(path)
        with zipfile.ZipFile(path) as archive:
            sizes.check_archive(archive, os.path.getsize(path))
            damaged = archive.testzip()
            if damaged:
                raise InputError(f"--model {path} is damaged: the checksum of {damaged} in it does not match.")
            if not set(archive.namelist()) >= _PARTS:
                raise InputError(f"--model {path} is no .keras file: give the model.keras of a run.")
            config = json.loads(archive.read("config.json"))
            sizes.check_config(config, archive.getinfo("model.weights.h5").file_size)
            sizes.check_weights_in(archive)
        return str(config["registered_name"] or config["class_name"]), (config.get("compile_config") or {}).get("loss")
    except InputError:
        raise
    except sizes.TooLarge as error:
        raise _too_large(path, error) from error
    except OSError as error:
        raise InputError(f"--model {path} cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"--model {path} is truncated, or no .keras file: give the model.keras of a run.") from error
    # zipfile, zlib and the parser of JSON have many of their own for a damaged file.
    except Exception as error:
        raise InputError(f"--model {path} is damaged: its config cannot be read ({one_line(error)}).") from error


def _too_large(path, error):
    return InputError(
        f"--model {path} would take more memory than a model of its size does ({error}): give it as training wrote it."
    )
