"""Checkpoints of Hugging Face, a folder or a name on the hub, as models of ours with their tokenizers.

What a tokenizer's normaliser does is tried on a few texts, since many descriptions do the same.
"""

import itertools
import json
import os
import warnings

from budgetbert.models import (
    BertBudgetMaskedLMPreprocessor,
    BertBudgetTextClassifierPreprocessor,
    BertBudgetTokenizer,
)
from budgetbert.models.crammed_checkpoint import MODEL_TYPE, load_crammed
from budgetbert.models.hugging_face import FAMILIES, from_torch, from_transformers
from budgetbert.tokenization.normalizer import KINDS, Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, plain_tokenizer

# Case, accents, white space, punctuation, digits, quotation marks and Chinese characters: what our normalisers and
# BERT's tell apart, without the rare code points on which these two differ anyway.
_PROBES = (
    "The Film Is A Masterpiece",
    "Café ÉCLAIR naïve Ångström Zürich",
    "МОСКВА й ё Αθήνα",
    "one  two\tthree\nfour\u00a0five",
    "don't stop-it, (now)! 2 + 2 = 4; $5.00 #1 @x <b> a_b",
    "``so'' it said",
    "東京は",
)


def load_transformers(directory, sequence_length=128, **kwargs):
    """Loads a BERT or Megatron-BERT checkpoint, crammed-BERT's own, or an export of ours, with its tokenizer.

    No code of the folder is run: `modeling_budgetbert.py` of an export is recognised by its config and read with our
    own. Text passes our normaliser, lower-casing and stripping accents as the checkpoint's tokenizer does: the ids are
    the same on all but about 0.8 % of lines of Wikipedia (0.1 % cased), and on all lines for an export of ours, also
    one that `transformers` saved again.

    Args:
        directory: string. A folder, or a name on the hub, as in `transformers.AutoModel.from_pretrained`.
        sequence_length: int. Of the preprocessor. Defaults to `128`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM`, or `BertBudgetTextClassifier` if the checkpoint is a sequence classifier, with a
        preprocessor. What has no equal here is a `ValueError`; a head that the checkpoint does not have starts at
        random, with a warning.
    """
    import transformers

    config, _ = transformers.PretrainedConfig.get_config_dict(directory)
    family, names = config.get("model_type"), config.get("architectures") or ()
    if family == MODEL_TYPE:
        return load_crammed(directory, config, sequence_length, **kwargs)
    if family != "budgetbert" and family not in FAMILIES:
        code = ", which needs code of its own that is not run" if "auto_map" in config else ""
        raise ValueError(f"{directory} is a model of type {family!r}{code}: only BERT and Megatron-BERT convert.")
    classifies = any(name.endswith("ForSequenceClassification") for name in names)
    if family == "budgetbert":  # AutoTokenizer would wonder aloud at a model type that it does not know.
        hf_tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(directory)
    else:
        hf_tokenizer = transformers.AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    tokenizer = our_tokenizer(hf_tokenizer)
    make_preprocessor = BertBudgetTextClassifierPreprocessor if classifies else BertBudgetMaskedLMPreprocessor
    hf_model = _load_model(directory, family, classifies)
    convert = from_torch if family == "budgetbert" else from_transformers
    return convert(
        hf_model,
        preprocessor=make_preprocessor(tokenizer, sequence_length),
        pair=getattr(hf_model.config, "pair", _read_record(directory).get("pair", False)),
        **kwargs,
    )


def _load_model(directory, family, classifies):
    """Loads the checkpoint as a model of `transformers` or, for an export of crammed-BERT, of our own loader."""
    import transformers

    task = "ForSequenceClassification" if classifies else "ForMaskedLM"
    if family == "budgetbert":
        from budgetbert.models import modeling_budgetbert

        load, options = getattr(modeling_budgetbert, f"BudgetBert{task}").from_pretrained, {}
    else:
        load, options = getattr(transformers, f"AutoModel{task}").from_pretrained, {"trust_remote_code": False}
    hf_model, found = load(directory, output_loading_info=True, **options)
    encoder = f"{hf_model.base_model_prefix}."
    missing = [name for name in sorted(found["missing_keys"]) if name.startswith(encoder)]
    if missing:
        raise ValueError(f"{directory} lacks {len(missing)} of the encoder's weights, as {missing[0]}.")
    if found["missing_keys"]:
        warnings.warn(
            f"{directory} has no weights for {', '.join(sorted(found['missing_keys']))}: they start at random.",
            stacklevel=3,
        )
    return hf_model


def _read_record(directory):
    """Returns what `export.json` says if the folder is an export of ours, else an empty dict."""
    try:
        with open(os.path.join(directory, "export.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):  # A name on the hub, or a file that is damaged or somebody else's.
        return {}


def our_tokenizer(hf_tokenizer):
    """Converts a fast WordPiece tokenizer of `transformers` to one of ours with the same ids.

    Args:
        hf_tokenizer: `transformers.PreTrainedTokenizerFast`.

    Returns:
        `BertBudgetTokenizer`.

    Raises:
        ValueError: if its model, its normaliser, its added tokens or its ids have no equal here.
    """
    backend = getattr(hf_tokenizer, "backend_tokenizer", None)
    described = json.loads(backend.to_str()) if backend is not None else {}
    model = described.get("model") or {}
    if model.get("type") != "WordPiece" or model.get("continuing_subword_prefix") != "##":
        raise ValueError(f"The checkpoint's tokenizer ({_kind(model)}) is not BERT's WordPiece, which alone converts.")
    entries = hf_tokenizer.get_vocab()
    missing = [token for token in SPECIAL_TOKENS if token not in entries]
    if missing:
        raise ValueError(f"The checkpoint's tokenizer lacks {', '.join(missing)}, which BERT's has.")
    added = sorted(token for token in hf_tokenizer.get_added_vocab() if token not in SPECIAL_TOKENS)
    if added:
        raise ValueError(
            f"The checkpoint's tokenizer has added tokens ({', '.join(added[:5])}), which are not read here."
        )
    vocabulary = sorted(entries, key=entries.get)
    if [entries[token] for token in vocabulary] != list(range(len(vocabulary))):
        raise ValueError("The ids of the checkpoint's tokenizer have gaps or stand for two tokens.")
    ids = [entries["[CLS]"], entries["[SEP]"], entries["[SEP]"]]
    if backend.encode("", "").ids != ids:
        raise ValueError("The checkpoint's tokenizer does not write [CLS] text [SEP] text [SEP], as BERT's does.")
    normalizer = _equal_normalizer(backend, described["normalizer"])
    return BertBudgetTokenizer(
        vocabulary,
        normalizer=normalizer.kind,
        lowercase=normalizer.lowercase,
        strip_accents=normalizer.strip_accents,
    )


def _equal_normalizer(backend, described):
    """Returns the `Normalizer` that makes the same pieces of the probes as a `tokenizers.Tokenizer`."""

    def pieces_of(tokenizer, text):
        text = text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)
        return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    if backend.pre_tokenizer is None:
        raise ValueError("The checkpoint's tokenizer does not split text into words, as BERT's does.")
    found, plain = [pieces_of(backend, probe) for probe in _PROBES], plain_tokenizer(SPECIAL_TOKENS)
    for kind, lowercase, strip_accents in itertools.product(KINDS, (True, False), (True, False)):
        normalizer = Normalizer(lowercase=lowercase, strip_accents=strip_accents, kind=kind)
        if [pieces_of(plain, normalizer(probe)) for probe in _PROBES] == found:
            return normalizer
    raise ValueError(
        "The checkpoint's tokenizer normalises or splits text in a way of its own "
        f"({_kind(described)}), which is neither BERT's nor ours: its ids would differ."
    )


def _kind(step):
    """Returns what a part of tokenizer.json calls itself, or the parts of a sequence."""
    step = step or {}
    if "normalizers" in step:
        return ", ".join(dict.fromkeys(_kind(part) for part in step["normalizers"]))
    return str(step.get("type"))
