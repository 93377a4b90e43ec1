"""A trained model that a flag names, and what it says of itself: read without Keras, before any time is spent."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import re
import zipfile
from pathlib import Path

from budgetbert import files
from budgetbert.errors import InputError, one_line
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import check_vocabulary

# The families of a checkpoint of Hugging Face that convert: BERT, Megatron-BERT, exports of ours, crammed-BERT's own.
FAMILIES = ("bert", "megatron-bert", "budgetbert", "crammedBERT")
TASKS = {
    "BertBudgetMaskedLM": "masked-LM",
    "BertBudgetTextClassifier": "text classifier",
    "BertBudgetTokenClassifier": "token classifier",
    "BertBudgetTextEmbedder": "text embedder",
    "BertBudgetQuestionAnswering": "question answering",
    "BertBudget": "encoder",
}
# How the classes of Hugging Face end that hold something else than a masked-LM.
_HEADS = {
    "ForSequenceClassification": "text classifier",
    "ForTokenClassification": "token classifier",
    "ForQuestionAnswering": "question answering",
}
# What a folder is recognised by: weights, configurations and vocabularies, but no card and no code.
_COUNTED = (".h5", ".safetensors", ".bin", ".json", ".txt")
_MOST_BYTES = 256 * 2**20  # of a part of an archive that is read whole; the largest vocabularies have 30 MB
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_GIVE = "give a model.keras, a folder of save_to_preset, or a BERT of Hugging Face"


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What text becomes ids by.

    Args:
        vocabulary: list of str.
        normalizer: `Normalizer`.
    """

    vocabulary: list
    normalizer: Normalizer


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model that a flag names.

    Args:
        flag: str. The flag, for sentences that name it.
        given: str. As it was typed.
        path: str. The `.keras` file, or the folder, which of a name on the hub is the one that it was stored in.
        family: str. `"keras"`, `"preset"`, or the model type of a checkpoint of Hugging Face, one of `FAMILIES`.
    """

    flag: str
    given: str
    path: str
    family: str

    @classmethod
    def read(cls, given, flag="--initial_model", weights=True):
        """Finds a model and reads what kind of model it is.

        Args:
            given: str. The path of a `.keras` file, of a folder of `save_to_preset`, of a run or a checkpoint of one,
                or of a Hugging Face folder; or a name on the hub.
            flag: str. Defaults to `"--initial_model"`.
            weights: bool. Whether the weights of a name on the hub are fetched too. Defaults to `True`.

        Raises:
            InputError: if there is no such model, or it is of another kind, or damaged.
        """
        path = given if os.path.exists(given) else _from_hub(given, flag, weights)
        if os.path.isdir(path) and os.path.isfile(os.path.join(path, "model.keras")):
            path = os.path.join(path, "model.keras")  # that of a run, or of a checkpoint
        if os.path.isfile(path):
            model = cls(flag, given, path, "keras")
        elif os.path.isdir(path):
            config = cls(flag, given, path, "")._read_json("config.json")
            kind = "preset" if "registered_name" in config else str(config.get("model_type"))
            model = cls(flag, given, path, kind)
        else:
            raise InputError(f"{flag} {given:.300} is neither a file nor a folder: {_GIVE}.")
        try:
            model._check()
        except InputError:
            raise
        # The readers of archives, configurations and tokenizers raise whatever the damaged part leads to.
        except Exception as error:
            raise InputError(f"{flag} {given} cannot be taken over ({one_line(error)}): {_GIVE}.") from error
        return model

    def _check(self):
        """Raises an `InputError` for another kind of model; a damaged one may raise what its configuration leads to."""
        if self.family not in ("keras", "preset", *FAMILIES):
            raise InputError(
                f"{self.flag} {self.given} is a model of type {self.family[:50]!r}: only BERT, Megatron-BERT and "
                "crammed-BERT convert."
            )
        if self.family not in FAMILIES:
            if self.task not in TASKS.values():
                raise InputError(f"{self.flag} {self.given} holds a {self.task[:100]}: {_GIVE}.")
            sizes = [self.encoder_config[name] for name in ("num_layers", "hidden_dim", "vocabulary_size")]
            if not all(type(size) is int and size > 0 for size in sizes):
                raise ValueError(f"its sizes are {sizes!r:.100}")
        check_vocabulary(f"{self.flag} {self.given}", self.tokens.vocabulary)

    @property
    def task(self):
        """str. What the file or folder holds, a value of `TASKS`, as `"masked-LM"`."""
        if self.family in FAMILIES:
            if os.path.isfile(os.path.join(self.path, "modules.json")):  # which sentence-transformers writes
                return "text embedder"
            names = [str(name) for name in self._read_json("config.json").get("architectures") or ()]
            tasks = (task for head, task in _HEADS.items() if any(name.endswith(head) for name in names))
            return next(tasks, "masked-LM")
        name = str(self.config.get("registered_name") or self.config.get("class_name")).split(">")[-1]
        return TASKS.get(name, name)

    @functools.cached_property
    def sha256(self):
        """str. Equal for equal models, wherever they lie."""
        if os.path.isfile(self.path):
            return files.sha256(self.path)
        names = sorted(path.relative_to(self.path).as_posix() for path in Path(self.path).rglob("*") if path.is_file())
        sums = [[name, files.sha256(os.path.join(self.path, name))] for name in names if name.endswith(_COUNTED)]
        return hashlib.sha256(json.dumps(sums).encode()).hexdigest()

    @functools.cached_property
    def tokens(self):
        """`Tokens` that the model was trained with."""
        if self.family in FAMILIES:
            return Tokens(*self._read_hugging_face_tokenizer())
        text = self._read_asset("tokenizer/vocabulary.txt").decode("utf-8", errors="replace")
        return Tokens(text.removesuffix("\n").split("\n"), self._read_normalizer())

    @functools.cached_property
    def config(self):
        """dict. The serialised task or encoder of a `.keras` file or a preset's folder."""
        if self.family == "keras":
            with self._archive() as archive:
                return self._object(_read_part(archive, "config.json"))
        has_task = os.path.exists(os.path.join(self.path, "task.json"))
        return self._read_json("task.json" if has_task else "config.json")

    @property
    def encoder_config(self):
        """dict. The arguments of the `BertBudget` in a `.keras` file or a preset's folder."""
        config = self.config["config"]
        return config["backbone"]["config"] if "backbone" in config else config

    def _read_normalizer(self):
        if self.family == "keras":
            preprocessor = self.config["config"].get("preprocessor") or {}
            config = ((preprocessor.get("config") or {}).get("tokenizer") or {}).get("config")
        else:
            config = self._read_json("tokenizer.json").get("config")
        if not isinstance(config, dict):
            raise InputError(f"{self.flag} {self.given} has no tokenizer: save it with the one that it trained on.")
        known = {field.name for field in dataclasses.fields(Normalizer)} - {"kind"}
        arguments = {name: value for name, value in config.items() if name in known}
        return Normalizer(**arguments, kind=config.get("normalizer", "bert"))

    def _read_hugging_face_tokenizer(self):
        from budgetbert.tokenization import published
        from budgetbert.tokenization.hugging_face import read_tokenizer

        if self.family == "crammedBERT":
            return published.read_tokenizer(os.path.join(self.path, "tokenizer.json"))[:2]
        import transformers

        if self.family == "budgetbert":  # AutoTokenizer would wonder aloud at a model type that it does not know.
            return read_tokenizer(transformers.PreTrainedTokenizerFast.from_pretrained(self.path))
        return read_tokenizer(transformers.AutoTokenizer.from_pretrained(self.path, trust_remote_code=False))

    def _read_asset(self, name):
        if self.family == "keras":
            with self._archive() as archive:
                return _read_part(archive, f"assets/preprocessor/{name}")
        return self._read_file(os.path.join("assets", name))

    @contextlib.contextmanager
    def _archive(self):
        """Context with a `.keras` file open for reading; what is wrong with it is one sentence."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except OSError as error:
            why = error.strerror or one_line(error)
            raise InputError(f"{self.flag} {self.given} cannot be read: {why}.") from error
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{self.flag} {self.given} is damaged, or no .keras file: {_GIVE}.") from error

    def _read_json(self, name):
        return self._object(self._read_file(name))

    def _read_file(self, name):
        try:
            return Path(self.path, name).read_bytes()
        except OSError as error:
            raise InputError(f"{self.flag} {self.given} has no {name} ({error.strerror}): {_GIVE}.") from error

    def _object(self, data):
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(f"{self.flag} {self.given} has a configuration that is no object of JSON: {_GIVE}.")
        return value


def _from_hub(name, flag, weights):
    """Returns the folder in which a model of the hub is stored here, after fetching it if need be."""
    if not _HUB_NAME.fullmatch(name) or name.endswith(".keras"):
        raise InputError(f"{flag} {name:.300} does not exist: {_GIVE}, or its name on the hub.")
    from huggingface_hub import snapshot_download

    texts = ["*.json", "*.txt"]
    try:
        folder = snapshot_download(name, allow_patterns=[*texts, "*.safetensors"] if weights else texts)
        if weights and not any(file.endswith(".safetensors") for file in os.listdir(folder)):
            folder = snapshot_download(name, allow_patterns=[*texts, "pytorch_model*.bin"])
    # The hub's client has an exception for each thing that can be wrong with a name, a network or an account.
    except Exception as error:
        raise InputError(
            f"{flag} {name} is no file or folder here, and was not found on the hub ({type(error).__name__}): give the "
            "path of a model, or its name while there is a network."
        ) from error
    return folder


def _read_part(archive, name):
    if name not in archive.namelist() or archive.getinfo(name).file_size > _MOST_BYTES:
        raise zipfile.BadZipFile(f"there is no {name}, or it is too large")
    return archive.read(name)
