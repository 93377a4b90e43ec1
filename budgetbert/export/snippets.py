"""How to load a model in Keras, in Hugging Face Transformers and from TensorFlow Serving, as Python to copy."""

import json

from budgetbert.models import BertBudgetTextClassifier

_TEXTS = ["The weather is lovely today.", "We never found our way home."]
_MASKED = "The weather is [MASK] today."

_KERAS_MASKED_LM = """\
import budgetbert
import keras

model = keras.models.load_model("{file}")  # on any backend; its tokenizer is inside
print(model.fill_mask([{masked}], k=5))
"""
_KERAS_CLASSIFIER = """\
import budgetbert
import keras

model = keras.models.load_model("{file}")  # on any backend; its tokenizer is inside
print({result})
"""
_TRANSFORMERS = """\
import torch
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}"{trust})
model = {auto}.from_pretrained("{folder}"{trust})
inputs = tokenizer({texts}, padding=True, truncation=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
{result}
"""
_SERVING = """\
import json
from urllib.request import urlopen

request = {request}
with urlopen("http://localhost:8501/v1/models/model:predict", json.dumps(request).encode()) as response:
    print(json.load(response)["predictions"])
"""


def snippets(model, file, transformers_folder, trust_remote_code):
    """Three snippets that print what the model says of two texts, or which tokens fill a mask.

    Args:
        model: `BertBudgetTextClassifier` or `BertBudgetMaskedLM`.
        file: string. The `.keras` file.
        transformers_folder: string. An export to Transformers.
        trust_remote_code: bool. Whether that export brings its own loader.

    Returns:
        Dict of `"Keras"`, `"Transformers"` and `"TensorFlow Serving"` to Python code (str). The last expects a server
        with the model's name `model` on port 8501.
    """
    trust = ", trust_remote_code=True" if trust_remote_code else ""
    common = {"folder": transformers_folder, "trust": trust}
    if not isinstance(model, BertBudgetTextClassifier):
        return {
            "Keras": _KERAS_MASKED_LM.format(file=file, masked=_quoted(_MASKED)),
            "Transformers": _TRANSFORMERS.format(
                auto="AutoModelForMaskedLM",
                texts=_quoted([_MASKED]),
                result="masked = logits[inputs.input_ids == tokenizer.mask_token_id][:, : len(tokenizer)]\n"
                "print(tokenizer.convert_ids_to_tokens(masked[0].topk(5).indices))",
                **common,
            ),
            "TensorFlow Serving": _SERVING.format(
                request=_quoted({"signature_name": "fill_mask", "instances": [{"text": _MASKED}]})
            ),
        }
    texts = f"({_quoted(_TEXTS)}, {_quoted(_TEXTS[::-1])})" if model.pair else _quoted(_TEXTS)
    named = "[model.label_names[index] for index in {}]" if model.label_names else "{}.tolist()"
    if model.num_classes == 1:
        of_keras, of_torch = f"model.predict({texts})[:, 0]", "print(logits[:, 0].tolist())"
    else:
        of_keras = named.format(f"model.predict({texts}).argmax(-1)")
        of_torch = "print([model.config.id2label[index] for index in logits.argmax(-1).tolist()])"
    names = ("text_a", "text_b") if model.pair else ("text",)
    columns = zip(*(_TEXTS, _TEXTS[::-1])[: len(names)], strict=True)
    instances = [dict(zip(names, row, strict=True)) for row in columns]
    return {
        "Keras": _KERAS_CLASSIFIER.format(file=file, result=of_keras),
        "Transformers": _TRANSFORMERS.format(
            auto="AutoModelForSequenceClassification", texts=texts.strip("()"), result=of_torch, **common
        ),
        "TensorFlow Serving": _SERVING.format(request=_quoted({"instances": instances})),
    }


def _quoted(value):
    """A string, list or dict of strings as Python writes it with double quotes, which is JSON."""
    return json.dumps(value, ensure_ascii=False)
