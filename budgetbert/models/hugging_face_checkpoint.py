"""Checkpoints of Hugging Face, a folder or a name on the hub, as models of ours with their tokenizers."""

import json
import os
import warnings

from budgetbert.models import BertBudgetTextEmbedder, BertBudgetTokenizer
from budgetbert.models.crammed_checkpoint import MODEL_TYPE, load_crammed
from budgetbert.models.hugging_face import FAMILIES, TASKS, from_torch, from_transformers
from budgetbert.models.hugging_face_heads import auto_class
from budgetbert.models.sentence_transformers_folder import read_settings
from budgetbert.models.task import RandomHead
from budgetbert.tokenization.hugging_face import read_tokenizer


def load_transformers(directory, sequence_length=None, **kwargs):
    """Loads a BERT or Megatron-BERT checkpoint, crammed-BERT's own, or an export of ours, with its tokenizer.

    No code of the folder is run: `modeling_budgetbert.py` of an export is recognised by its config and read with our
    own. The ids of a text are those of the checkpoint's own tokenizer: BERT's is the normaliser `checkpoint`, and an
    export of ours, also one that `transformers` saved again, has the normaliser that it had.

    Args:
        directory: string. A folder, or a name on the hub, as in `transformers.AutoModel.from_pretrained`.
        sequence_length: int. Of the preprocessor. Defaults to that of an exported question-answering model, else to the
            preprocessor's own, or the model's positions where there are fewer.
        **kwargs: override arguments of `BertBudget`, as `dropout` or `dtype`.

    Returns:
        `BertBudgetMaskedLM`, or `BertBudgetTextClassifier`, `BertBudgetTokenClassifier` or
        `BertBudgetQuestionAnswering` if the checkpoint is of that kind, or `BertBudgetTextEmbedder` of a folder of
        sentence-transformers, with a preprocessor. What has no equal here is a `ValueError`; a head that the checkpoint
        does not have starts at random, with a warning.
    """
    import transformers

    config, _ = transformers.PretrainedConfig.get_config_dict(directory)
    family, names = config.get("model_type"), config.get("architectures") or ()
    if family == MODEL_TYPE:
        return load_crammed(directory, config, sequence_length or 128, **kwargs)
    if family != "budgetbert" and family not in FAMILIES:
        code = ", which needs code of its own that is not run" if "auto_map" in config else ""
        raise ValueError(f"{directory} is a model of type {family!r}{code}: only BERT and Megatron-BERT convert.")
    heads = [task for task in TASKS if task != "Model"]
    task = next((task for task in heads if any(name.endswith(task) for name in names)), "ForMaskedLM")
    settings = read_settings(directory)
    if settings is not None:
        task, sequence_length = "Model", settings.pop("sequence_length") or sequence_length
    if family == "budgetbert":  # AutoTokenizer would wonder aloud at a model type that it does not know.
        hf_tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(directory)
    else:
        hf_tokenizer = transformers.AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    tokenizer = our_tokenizer(hf_tokenizer)
    hf_model = _load_model(directory, family, task)
    preprocessor = TASKS[task].preprocessor_cls(tokenizer)
    asked = sequence_length or getattr(hf_model.config, "sequence_length", None)
    most = hf_model.config.max_position_embeddings
    preprocessor.sequence_length = asked or min(preprocessor.sequence_length, most)
    convert = from_torch if family == "budgetbert" else from_transformers
    model = convert(
        hf_model,
        preprocessor=preprocessor,
        pair=getattr(hf_model.config, "pair", _read_record(directory).get("pair", False)),
        **kwargs,
    )
    return model if settings is None else BertBudgetTextEmbedder(model.backbone, model.preprocessor, **settings)


def _load_model(directory, family, task):
    """Loads the checkpoint as a model of `transformers` or, for an export of crammed-BERT, of our own loader."""
    import transformers

    if family == "budgetbert":
        from budgetbert.models import modeling_budgetbert

        load, options = getattr(modeling_budgetbert, f"BudgetBert{task}").from_pretrained, {}
    else:
        load, options = getattr(transformers, auto_class(task)).from_pretrained, {"trust_remote_code": False}
    hf_model, found = load(directory, output_loading_info=True, **options)
    encoder = f"{hf_model.base_model_prefix}."
    if task == "Model":  # It is the encoder itself, and its pooler is not used.
        missing = [name for name in sorted(found["missing_keys"]) if not name.startswith("pooler.")]
        found["missing_keys"] = missing
    else:
        missing = [name for name in sorted(found["missing_keys"]) if name.startswith(encoder)]
    if missing:
        raise ValueError(f"{directory} lacks {len(missing)} of the encoder's weights, as {missing[0]}.")
    if found["missing_keys"]:
        warnings.warn(
            f"{directory} has no weights for {', '.join(sorted(found['missing_keys']))}: they start at random.",
            RandomHead,
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
        ValueError: if it has no equal here, see `budgetbert.tokenization.hugging_face.read_tokenizer`.
    """
    return BertBudgetTokenizer.from_normalizer(*read_tokenizer(hf_tokenizer))
