"""Folders that Hugging Face Transformers loads: the model, its tokenizer, and a loader where it has no such model."""

import glob
import json
import os
import shutil

from budgetbert.models.hugging_face import has_architecture, to_torch, to_transformers
from budgetbert.models.loading import check_vocabulary
from budgetbert.models.sentence_transformers_folder import write_settings
from budgetbert.models.text_embedder import BertBudgetTextEmbedder
from budgetbert.tokenization.vocabulary import standalone_tokenizer


def write_transformers(model, directory, weights="float32"):
    """Writes a model and its tokenizer for `transformers.Auto...from_pretrained(directory)`.

    Args:
        model: one of our tasks with a preprocessor. The folder of a `BertBudgetTextEmbedder` is one of
            sentence-transformers, too, with pooling and normalisation. Crammed-BERT's architecture is written with
            `modeling_budgetbert.py`, and loads with `trust_remote_code=True`.
        directory: string. An existing folder.
        weights: `"float32"` (default) or `"float16"`.

    Returns:
        Dict of facts for `export.json`.

    Raises:
        InputError: if the model has no vocabulary.
    """
    import transformers

    check_vocabulary(model)
    # Writing one file takes about a second, which needs no progress bar.
    transformers.utils.logging.disable_progress_bar()
    hf_model = to_transformers(model) if has_architecture(model) else to_torch(model)
    tokenizer = hf_tokenizer(model)
    hf_model.config.pad_token_id = tokenizer.pad_token_id
    if weights == "float16":
        hf_model = hf_model.half()
    hf_model.save_pretrained(directory)
    for path in glob.glob(os.path.join(glob.escape(directory), "*.safetensors")):
        # safetensors writes a file that its owner alone may read.
        shutil.copymode(os.path.join(directory, "config.json"), path)
    normalizer = model.preprocessor.tokenizer.normalizer
    _save_tokenizer(tokenizer, normalizer, directory)
    # vocab.txt is for BertTokenizer and for people; AutoTokenizer reads tokenizer.json.
    with open(os.path.join(directory, "vocab.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{token}\n" for token in model.preprocessor.tokenizer.get_vocabulary())
    if isinstance(model, BertBudgetTextEmbedder):
        write_settings(model, directory)
    return {
        "architecture": type(hf_model).__name__,
        "trust_remote_code": not has_architecture(model),
        "weights": weights,
        "pair": getattr(model, "pair", False),
        # For people: the way back reads tokenizer.json, which is what `transformers` keeps.
        "normalizer": {"normalizer": normalizer.kind, **{k: v for k, v in normalizer.config().items() if k != "kind"}},
    }


def hf_tokenizer(model):
    """Returns the tokenizer of `model` as a `transformers.PreTrainedTokenizerFast` with the same ids."""
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


def _save_tokenizer(tokenizer, normalizer, directory):
    """Writes tokenizer.json and its config.

    The config names a class that `transformers` 4 knows too, and the case and accents for `BertTokenizer`, which reads
    them there and not in tokenizer.json. It is `BertTokenizer` itself where that reads text as the model does.
    """
    tokenizer.save_pretrained(directory)
    path = os.path.join(directory, "tokenizer_config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    is_berts = normalizer.kind == "checkpoint" and normalizer.clean_text
    config |= {
        "tokenizer_class": "BertTokenizer" if is_berts else "PreTrainedTokenizerFast",
        "do_lower_case": normalizer.lowercase,
        "strip_accents": normalizer.strip_accents,
    }
    if is_berts:
        config["tokenize_chinese_chars"] = normalizer.handle_chinese_chars
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
