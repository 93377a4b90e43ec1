"""The vocabulary and normaliser of a model, for text that is prepared for it (`--vocabulary_from`); without Keras."""

import dataclasses
import json
import os
import zipfile

from budgetbert.corpus import store
from budgetbert.errors import InputError, one_line
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import check_vocabulary, read_vocabulary

_CLASS = "BertBudgetTokenizer"
_FILE = "vocabulary.txt"
# The largest published vocabularies have 30 MB.
_MOST_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class ModelVocabulary:
    """What a model reads text with.

    Attributes:
        entries: list of str, the vocabulary.
        normalizer: `Normalizer`.
    """

    entries: list
    normalizer: Normalizer


def read_model_vocabulary(path):
    """Reads what a model reads text with.

    Args:
        path: str. A `.keras` file, a folder of `save_to_preset`, a folder or hub name of Hugging Face with a BERT's
            tokenizer, or a prepared corpus.

    Returns:
        `ModelVocabulary`.

    Raises:
        InputError: if there is none there, or it cannot be had here.
    """
    name = f"--vocabulary_from {path}"
    if os.path.isfile(path):
        return _of_keras_file(path, name)
    if not os.path.isdir(path):
        if os.path.splitext(path)[1] == ".keras" or path.count("/") > 1 or path.startswith((".", "/", "~")):
            raise InputError(f"{name} does not exist: give a .keras file, a model's folder or a name on the hub.")
        return _of_hugging_face(path, name, local_files_only=_is_cached(path, name))
    if os.path.exists(os.path.join(path, store.MANIFEST)):
        corpus = store.open_corpus(path)
        return ModelVocabulary(corpus.vocabulary, corpus.normalizer)
    if os.path.exists(os.path.join(path, "assets", "tokenizer", _FILE)):
        with open(os.path.join(path, "tokenizer.json"), "rb") as file:
            normalizer = _normalizer_in(file.read(_MOST_BYTES), name)
        return ModelVocabulary(read_vocabulary(os.path.join(path, "assets", "tokenizer", _FILE)), normalizer)
    if os.path.exists(os.path.join(path, "config.json")):
        return _of_hugging_face(path, name)
    raise InputError(
        f"{name} is a folder without a model's config.json: give a .keras file, a folder of save_to_preset or of "
        "Hugging Face, or a prepared corpus."
    )


def _of_keras_file(path, name):
    try:
        with zipfile.ZipFile(path) as archive:
            (vocabulary,) = [part for part in archive.infolist() if part.filename.endswith(f"tokenizer/{_FILE}")]
            config = archive.getinfo("config.json")
            if max(vocabulary.file_size, config.file_size) > _MOST_BYTES:
                raise InputError(f"{name} has a vocabulary that is larger than any: give it as training wrote it.")
            text, config = archive.read(vocabulary).decode(), archive.read(config)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{name} is no .keras file with a tokenizer inside: give the model.keras of a run.") from error
    entries = text.removesuffix("\n").split("\n")
    check_vocabulary(name, entries)
    return ModelVocabulary(entries, _normalizer_in(config, name))


def _normalizer_in(config, name):
    """Returns the `Normalizer` of the tokenizer that a configuration (bytes of JSON) describes."""
    try:
        described = _find_tokenizer(json.loads(config))
        arguments = ("lowercase", "strip_accents", "normalizer", "clean_text", "handle_chinese_chars")
        found = {argument: described[argument] for argument in arguments if argument in described}
        return Normalizer(**{"kind" if argument == "normalizer" else argument: found[argument] for argument in found})
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} has no {_CLASS}: give a model of this package or of Hugging Face.") from error


def _find_tokenizer(node):
    """Returns the configuration (dict) of the tokenizer within that of a model, or `None`."""
    if isinstance(node, dict) and node.get("class_name") == _CLASS:
        return node.get("config")
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for found in map(_find_tokenizer, inner) if found is not None), None)


def _is_cached(path, name):
    """Returns whether a model of the hub is here already; raises an `InputError` if the hub does not know it.

    The hub is asked first, and once: `transformers` tries for a minute.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        if isinstance(huggingface_hub.try_to_load_from_cache(path, "config.json"), str):
            return True
        huggingface_hub.HfApi().model_info(path, timeout=10)
        return False
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise InputError(f"{name} is no file here, and the hub has no such model: give the path of one.") from error
    # Which library reports a broken network varies.
    except Exception as error:
        raise InputError(
            f"{name} is no file here, and the Hugging Face hub cannot be reached ({one_line(error)}): check the "
            "connection, or give the path of a downloaded model."
        ) from error


def _of_hugging_face(path, name, **options):
    try:
        import transformers

        from budgetbert.tokenization.hugging_face import read_tokenizer

        is_ours = _model_type(path) == "budgetbert"  # a type that `AutoTokenizer` does not know
        load = transformers.PreTrainedTokenizerFast if is_ours else transformers.AutoTokenizer
        entries, normalizer = read_tokenizer(load.from_pretrained(path, **options))
    except ImportError as error:
        raise InputError(
            f"{name} needs {error.name}, which is not installed: pip install 'budgetbert[transformers]'."
        ) from error
    # `transformers` and the hub raise whatever is missing or damaged.
    except Exception as error:
        raise InputError(
            f"{name} cannot be read ({one_line(error).rstrip('.')}): give a .keras file, or a BERT checkpoint's folder."
        ) from error
    check_vocabulary(name, entries)
    return ModelVocabulary(entries, normalizer)


def _model_type(path):
    """Returns the `model_type` in a folder's config.json, or `None`."""
    if not os.path.isdir(path):
        return None
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    return config.get("model_type") if isinstance(config, dict) else None
