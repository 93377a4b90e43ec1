"""The model that a run goes on from, and whether corpora have its tokens. Imports no Keras where that can be."""

import functools
import os
import warnings

from budgetbert.errors import InputError
from budgetbert.presets import FIELDS
from budgetbert.trained_model import FAMILIES, TrainedModel

_HEAD = ("head_transform", "output_bias")


class InitialModel(TrainedModel):
    """A model that `--initial_model` names.

    Example:
        >>> InitialModel("--initial_model", "runs/mine", "runs/mine/model.keras", "keras").family
        'keras'
    """

    @property
    def size(self):
        """str. Layers and width, which `recipe.json` has in the place of a preset's name."""
        return f"{self.architecture['num_layers']} x {self.architecture['hidden_dim']}"

    @property
    def name(self):
        """str. What people are told that the model is, in the place of a preset's name."""
        return f"{os.path.basename(os.path.normpath(self.given))} ({self.size})"

    @functools.cached_property
    def architecture(self):
        """dict of the fields of the encoder and of the masked-LM's head, without the size of the vocabulary.

        A model without a masked-LM's head gets the one of its kind: BERT's, 24hBERT's or crammed-BERT's.
        """
        encoder, head = self._configs
        if not head:
            post = encoder["norm_placement"] == "post"
            head = {"head_transform": encoder["use_bias"], "output_bias": encoder["use_bias"] and post}
        return {**{name: encoder[name] for name in FIELDS if name in encoder}, **head}

    @property
    def table_rows(self):
        """int. Rows of the table of tokens, which may be padded beyond the vocabulary."""
        return self._configs[0]["vocabulary_size"]

    @functools.cached_property
    def _configs(self):
        """Tuple of two dict, the arguments of the encoder and of the masked-LM's head, which may have none."""
        if self.family in FAMILIES:  # The conversion of a checkpoint tells them.
            with warnings.catch_warnings():  # What it lacks is told where its weights are taken.
                warnings.simplefilter("ignore")
                model = self.load()
            return model.backbone.get_config(), {name: getattr(model, name) for name in _HEAD if hasattr(model, name)}
        head = {name: self.config["config"][name] for name in _HEAD} if self.task == "masked-LM" else {}
        return self.encoder_config, head

    def load(self):
        """Returns the model, a `BertBudgetMaskedLM` or a `BertBudgetTextClassifier`, and imports Keras.

        Raises:
            InputError: if it is damaged, or has no equal here.
        """
        from budgetbert.models.loading import load_any

        try:
            return load_any(self.path)
        except InputError as error:
            raise InputError(str(error).replace("--model ", f"{self.flag} ", 1)) from error

    def check_tokens(self, corpus):
        """Raises an `InputError` where a `PreparedCorpus` has other tokens than the model.

        Its vocabulary may go on where the model's ends: what is new was added by `--extend_vocabulary`.
        """
        ours, vocabulary, normalizer = self.tokens, corpus.vocabulary, corpus.normalizer
        mend = f"prepare it with --vocabulary_from {self.given}"
        if vocabulary[: len(ours.vocabulary)] != ours.vocabulary:
            raise InputError(
                f"{corpus.directory} was prepared with another vocabulary ({_told(vocabulary)}) than {self.flag} "
                f"{self.given} has ({_told(ours.vocabulary)}): {mend}."
            )
        if normalizer != ours.normalizer:
            theirs, wanted = normalizer.config(), ours.normalizer.config()
            settings = [f"{name} {theirs.get(name)!r}, not {value!r}" for name, value in wanted.items()]
            differing = [told for told, name in zip(settings, wanted, strict=True) if theirs.get(name) != wanted[name]]
            raise InputError(
                f"{corpus.directory} was prepared with another normaliser than {self.flag} {self.given} has "
                f"({' and '.join(differing)}): {mend}."
            )


def open_watched(name, corpus=None):
    """Opens the prepared corpus of `--keep_an_eye_on`, on whose held-out rows a continued run is validated too.

    Args:
        name: str, or `None`, for which `None` is returned.
        corpus: `PreparedCorpus` that the run trains on. Defaults to `None`: it is not known yet.

    Raises:
        InputError: if it is no prepared corpus, or its ids stand for other tokens than those of `corpus`.
    """
    if name is None:
        return None
    # These imports take a second, which --help need not wait for.
    from budgetbert.corpus.prepare import is_prepared
    from budgetbert.corpus.store import open_corpus

    if not is_prepared(name):
        raise InputError(
            f"--keep_an_eye_on {name} is no prepared corpus: make one of the text from before with "
            "recipes/prepare_corpus.py, with the vocabulary of the new one (--vocabulary_from)."
        )
    watched = open_corpus(name)
    if corpus and (
        corpus.vocabulary[: len(watched.vocabulary)] != watched.vocabulary or corpus.normalizer != watched.normalizer
    ):
        raise InputError(
            f"--keep_an_eye_on {name} has other tokens than {corpus.directory}: prepare it with --vocabulary_from "
            f"{corpus.directory}."
        )
    return watched


def _told(vocabulary):
    from budgetbert.corpus.store import vocabulary_sha256

    return f"{len(vocabulary):,} entries, sha256 {vocabulary_sha256(vocabulary)[:12]}"
