"""Folders that Hugging Face Transformers loads: the model, its tokenizer, and a loader where it has no such model."""

import json
import os

from budgetbert.corpus.vocabulary import standalone_tokenizer
from budgetbert.export import folder
from budgetbert.export.loading import check_vocabulary
from budgetbert.export.torch_model import to_torch
from budgetbert.export.transformers import from_transformers, has_architecture, to_transformers
from budgetbert.models import (
    BertBudgetMaskedLMPreprocessor,
    BertBudgetTextClassifierPreprocessor,
    BertBudgetTokenizer,
)

WEIGHTS = ("float32", "float16")


def write_transformers(model, directory, weights="float32"):
    """Writes a model and its tokenizer for `transformers.Auto...from_pretrained(directory)`.

    Args:
        model: `BertBudgetTextClassifier` or `BertBudgetMaskedLM` with a preprocessor. Crammed-BERT's architecture is
            written with `modeling_budgetbert.py`, and loads with `trust_remote_code=True`.
        directory: string. An existing folder.
        weights: `"float32"` (default) or `"float16"`.

    Returns:
        Dict of facts for `export.json`.

    Raises:
        InputError: if the model has no vocabulary.
    """
    import transformers

    check_vocabulary(model)
    transformers.utils.logging.disable_progress_bar()  # for one file of a second
    hf_model = to_transformers(model) if has_architecture(model) else to_torch(model)
    tokenizer = hf_tokenizer(model)
    hf_model.config.pad_token_id = tokenizer.pad_token_id
    if weights == "float16":
        hf_model = hf_model.half()
    hf_model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    # for BertTokenizer and for people; tokenizer.json is what AutoTokenizer reads
    with open(os.path.join(directory, "vocab.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{token}\n" for token in model.preprocessor.tokenizer.get_vocabulary())
    normalizer = model.preprocessor.tokenizer.normalizer
    return {
        "architecture": type(hf_model).__name__,
        "trust_remote_code": not has_architecture(model),
        "weights": weights,
        "pair": getattr(model, "pair", False),
        # as arguments of BertBudgetTokenizer, for the way back
        "normalizer": {
            "normalizer": normalizer.kind,
            "lowercase": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
        },
    }


def load_transformers(directory, sequence_length=128, **kwargs):
    """Loads a BERT or Megatron-BERT checkpoint with its tokenizer.

    Text passes our normaliser, lower-casing and stripping accents as the checkpoint's tokenizer does: the ids are the
    same on all but about 0.8 % of lines of Wikipedia (0.1 % cased), and on all lines for an export of ours.

    Args:
        directory: string. A folder, or a name on the hub, as in `transformers.AutoModel.from_pretrained`.
        sequence_length: int. Of the preprocessor. Defaults to `128`.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM`, or `BertBudgetTextClassifier` if the checkpoint is a sequence classifier, with a
        preprocessor. What has no equal here is a `ValueError`.
    """
    import transformers

    config = transformers.AutoConfig.from_pretrained(directory)
    classifies = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    auto_class = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModelForMaskedLM
    make_preprocessor = BertBudgetTextClassifierPreprocessor if classifies else BertBudgetMaskedLMPreprocessor
    hf_tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    entries, exported = hf_tokenizer.get_vocab(), _read_record(directory)
    normalizer = exported.get("normalizer") or _nearest_normalizer(hf_tokenizer)
    tokenizer = BertBudgetTokenizer(sorted(entries, key=entries.get), **normalizer)
    return from_transformers(
        auto_class.from_pretrained(directory),
        preprocessor=make_preprocessor(tokenizer, sequence_length),
        pair=exported.get("pair", False),
        **kwargs,
    )


def hf_tokenizer(model):
    """The tokenizer of `model` as `transformers.PreTrainedTokenizerFast`, with the same ids for the same text."""
    import transformers

    tokenizer, encoder = model.preprocessor.tokenizer, model.backbone
    names = ["input_ids", *(["token_type_ids"] if encoder.num_segments else []), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=standalone_tokenizer(tokenizer.get_vocabulary(), tokenizer.normalizer),
        model_max_length=encoder.max_sequence_length,
        model_input_names=names,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def _read_record(directory):
    """What `export.json` says, if the folder is an export of ours; else an empty dict."""
    try:
        with open(os.path.join(directory, folder.RECORD), encoding="utf-8") as file:
            return json.load(file)
    except OSError:
        return {}


def _nearest_normalizer(hf_tokenizer):
    """Whether a BERT tokenizer lower-cases and strips accents; unless told, it strips them where it lower-cases."""
    steps = json.loads(hf_tokenizer.backend_tokenizer.to_str())["normalizer"] or {}
    steps = steps.get("normalizers", [steps])
    bert = next((step for step in steps if step.get("type") == "BertNormalizer"), None)
    if bert is None:
        raise ValueError("The checkpoint's tokenizer has no BertNormalizer: only BERT's WordPiece tokenizers convert.")
    strips = bert["strip_accents"]
    return {"lowercase": bert["lowercase"], "strip_accents": bert["lowercase"] if strips is None else strips}
