"""Reading a trained model, with one sentence for each thing that can be wrong with it."""

import json
import os
import warnings
import zipfile

import keras

from budgetbert.command_line import InputError

_PARTS = {"config.json", "metadata.json", "model.weights.h5"}
_HEADS = ("budgetbert>BertBudgetMaskedLM", "budgetbert>BertBudgetTextClassifier")


def load_trained(path):
    """Loads a `.keras` file of one of our tasks.

    What the file says it is, is checked before Keras builds anything of it, and Keras then reads it in safe mode, which
    runs no code from the file.

    Args:
        path: string. A `.keras` file with a tokenizer inside.

    Returns:
        `BertBudgetMaskedLM` or `BertBudgetTextClassifier`.

    Raises:
        InputError: if there is no such file, it is truncated or tampered with, is another kind of model, or has no
            vocabulary.
    """
    head = _read_head(path)
    if head not in _HEADS:
        raise InputError(
            f"--model {path} holds a {head.split('>')[-1]}: only a BertBudgetMaskedLM or a BertBudgetTextClassifier "
            "will do."
        )
    try:
        # a task compiles itself, with a new optimizer that the saved state does not fit
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the damaged part leads to
        told = " ".join(str(error).split())
        told = told if len(told) < 200 else f"{told[:200]}..."
        raise InputError(
            f"--model {path} does not load in safe mode, so it is damaged or was tampered with "
            f"({type(error).__name__}: {told}): give the file as training wrote it."
        ) from error
    check_vocabulary(model, f"--model {path}")
    return model


def load_any(path):
    """Loads a `.keras` file, a folder of `save_to_preset`, or a BERT or Megatron-BERT checkpoint of Hugging Face.

    Args:
        path: string.

    Returns:
        `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with a vocabulary.

    Raises:
        InputError: as `load_trained`, or if a folder holds neither kind of model.
    """
    if not os.path.isdir(path):
        return load_trained(path)
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--model {path} is a folder without a readable config.json: give a model.keras, a folder of "
            "save_to_preset, or a BERT checkpoint of Hugging Face."
        ) from error
    try:
        if "registered_name" in config:
            from budgetbert.models import BertBudgetMaskedLM

            model = BertBudgetMaskedLM.from_preset(path)
        else:
            from budgetbert.export.transformers_folder import load_transformers

            model = load_transformers(path)
    except ImportError as error:
        raise InputError(
            f"--model {path} needs {error.name}, which is not installed: pip install 'budgetbert[transformers]'."
        ) from error
    except (ValueError, KeyError, OSError) as error:
        told = " ".join(str(error).split())[:300]
        raise InputError(f"--model {path} cannot be taken over ({told}): give a BERT-type checkpoint.") from error
    check_vocabulary(model, f"--model {path}")
    return model


def check_vocabulary(model, name="The model"):
    """Raises an `InputError` if `model` has no vocabulary; `name` is what the sentence calls it."""
    if model.preprocessor is None or model.preprocessor.tokenizer.vocabulary is None:
        raise InputError(
            f"{name} has no vocabulary: give it a preprocessor with the tokenizer that it was trained with, and save "
            "it again."
        )


def _read_head(path):
    """The registered name of the class in a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged:
                raise InputError(f"--model {path} is damaged: the checksum of {damaged} in it does not match.")
            if not set(archive.namelist()) >= _PARTS:
                raise InputError(f"--model {path} is no .keras file: give the model.keras of a run.")
            config = json.loads(archive.read("config.json"))
        return str(config["registered_name"] or config["class_name"])
    except OSError as error:
        raise InputError(f"--model {path} cannot be read: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"--model {path} is truncated, or no .keras file: give the model.keras of a run.") from error
    except (ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise InputError(f"--model {path} is damaged: its config cannot be read ({error}).") from error
