"""Exports load in `transformers` 4.57, where a folder that holds it is named by BUDGETBERT_TRANSFORMERS_4.

pip install --no-deps --target FOLDER "transformers==4.57.6" "huggingface_hub<1" "tokenizers<0.23"
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from budgetbert.export import folder, transformers_folder  # noqa: E402
from tests.models.examples import FAMILIES  # noqa: E402

from .models import UNSEEN, classifier, masked  # noqa: E402

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]
# What a user of the older version types, and what comes of it.
PROGRAM = """
import json, sys
import torch, transformers
auto, path, trust, texts = sys.argv[1], sys.argv[2], sys.argv[3] == "True", json.loads(sys.argv[4])
tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
model = getattr(transformers, auto).from_pretrained(path, trust_remote_code=trust)
batch = tokenizer(texts, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**batch).logits
first = logits if "Sequence" in auto else logits[:, 0]
model.train().gradient_checkpointing_enable()
labels = torch.tensor([0, 1]) if "Sequence" in auto else batch["input_ids"]
model(**batch, labels=labels).loss.backward()
model.resize_token_embeddings(140)
model.save_pretrained(path + "_again")
tokenizer.save_pretrained(path + "_again")
print(json.dumps([transformers.__version__, batch["input_ids"].tolist(), first.tolist()]))
"""


@pytest.mark.parametrize("kind", ["classifier", "masked_lm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_older_version_reads_the_same(family, kind, tmp_path):
    packages = os.environ.get("BUDGETBERT_TRANSFORMERS_4")
    if packages is None:
        pytest.skip("BUDGETBERT_TRANSFORMERS_4 names no folder with transformers 4.57")
    model = (classifier if kind == "classifier" else masked)(family)
    auto = "AutoModelForSequenceClassification" if kind == "classifier" else "AutoModelForMaskedLM"
    path, trust = str(tmp_path / "folder"), family in ("tiny_crammed", "tiny_frontier")
    with folder.replacing(path, "transformers") as written:
        transformers_folder.write_transformers(model, written)
    environment = {**os.environ, "PYTHONPATH": packages, "USE_TF": "0"}
    command = [sys.executable, "-P", "-c", PROGRAM, auto, path, str(trust), json.dumps(UNSEEN)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    version, ids, logits = json.loads(done.stdout.splitlines()[-1])
    assert version.startswith("4.57")
    batch = transformers_folder.hf_tokenizer(model)(UNSEEN, padding=True, return_tensors="np")
    assert ids == batch["input_ids"].tolist()
    inputs = {
        "token_ids": batch["input_ids"].astype("int32"),
        "padding_mask": batch["attention_mask"].astype("int32"),
        "segment_ids": np.zeros_like(batch["input_ids"], "int32"),
    }
    if kind == "masked_lm":
        inputs["mask_positions"] = np.zeros((len(UNSEEN), 1), "int32")
    ours = ops.convert_to_numpy(model(inputs))
    np.testing.assert_allclose(logits, ours if kind == "classifier" else ours[:, 0], atol=1e-4)
