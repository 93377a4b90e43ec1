"""What sentence-transformers writes beside a model of Transformers: pooling, normalisation, length. Imports no Keras.

The names are those of its releases 2 to 5, which 6 reads too.
"""

import json
import os

_MODULES = "sentence_transformers.models."
_POOLINGS = {"mean": "mean_tokens", "first": "cls_token"}
_LEGACY = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def write_settings(model, directory):
    """Writes how a `BertBudgetTextEmbedder` makes its vectors to a folder (str) that holds its encoder."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * model.normalize
    for path, _ in modules:
        os.makedirs(os.path.join(directory, path), exist_ok=True)
    files = {
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"{_MODULES}{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": model.backbone.hidden_dim,
            **{f"pooling_mode_{mode}": mode == _POOLINGS[model.pooling] for mode in _LEGACY},
            "include_prompt": True,
        },
        "sentence_bert_config.json": {
            "max_seq_length": model.preprocessor.sequence_length,
            "do_lower_case": False,
        },
        "config_sentence_transformers.json": {
            "prompts": {},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    }
    for name, content in files.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")


def read_settings(directory):
    """Reads what sentence-transformers does to the encoder of a folder.

    Args:
        directory: str.

    Returns:
        dict with `pooling` and `normalize` of `BertBudgetTextEmbedder`, and `sequence_length` (int, or `None` where the
        folder does not say it); `None` if it is no folder of sentence-transformers.

    Raises:
        ValueError: if it does something that has no equal here.
    """
    modules = _read(directory, "modules.json")
    if modules is None:
        return None
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]) or modules[0]["path"]:
        raise ValueError(
            f"its modules are {', '.join(kinds)}: only Transformer in the folder itself, Pooling and perhaps Normalize "
            "convert"
        )
    pooling = _read(directory, f"{modules[1]['path']}/config.json") or {}
    modes = pooling.get("pooling_mode") or [mode for mode in _LEGACY if pooling.get(f"pooling_mode_{mode}")]
    modes = [modes] if isinstance(modes, str) else list(modes)
    known = {"mean": "mean", "cls": "first", "mean_tokens": "mean", "cls_token": "first"}
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(f"its pooling is {' and '.join(modes) or 'none'}: only the mean and the first token convert")
    prompt = (_read(directory, "config_sentence_transformers.json") or {}).get("default_prompt_name")
    if prompt:
        raise ValueError(f"it puts the prompt {prompt!r} before each text, which has no equal here")
    settings = _read(directory, "sentence_bert_config.json") or {}
    return {
        "pooling": known[modes[0]],
        "normalize": len(kinds) == 3,
        "sequence_length": settings.get("max_seq_length"),
    }


def _read(directory, name):
    """Returns what a file of JSON in a folder holds, `None` where it is not there."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
