import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTextClassifier

from .examples import batch, encoder, masked_lm, to_numpy

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")

TASKS = {
    "classifier": lambda: BertBudgetTextClassifier(encoder("tiny_24h"), 3),
    "activated": lambda: BertBudgetTextClassifier(encoder("tiny_crammed"), 2, activation="softmax"),
    "regression of pairs": lambda: BertBudgetTextClassifier(encoder("tiny_frontier"), 1, pair=True),
    "masked_lm": masked_lm,
    "next_sentence": lambda: masked_lm(next_sentence=True),
}


def outputs_of(model):
    inputs = batch(full=False)
    if "mask_positions" in model.input:
        inputs["mask_positions"] = np.array([[1, 5]] * 3, "int32")
    return [to_numpy(output) for output in keras.tree.flatten(model(inputs))]


def cases():
    """Every task in 8 bits and one in 4; the others in 4 with the slow tests."""
    once = [pytest.mark.slow, pytest.mark.any_backend]
    for task in TASKS:
        yield task, "int8"
        yield pytest.param(task, "int4", marks=() if task == "masked_lm" else once)


@pytest.mark.parametrize(("task", "mode"), cases())
def test_a_quantized_task_comes_back_from_its_file_and_its_folder(task, mode, tmp_path):
    model = TASKS[task]()
    before = outputs_of(model)
    model.quantize(mode)
    quantized = outputs_of(model)
    for ours, exact in zip(quantized, before, strict=True):
        np.testing.assert_allclose(ours, exact, atol=0.1 if mode == "int8" else 1.0)
    model.save(tmp_path / "model.keras")
    model.save_to_preset(tmp_path / "preset")
    loaded = [keras.models.load_model(tmp_path / "model.keras"), type(model).from_preset(str(tmp_path / "preset"))]
    loaded[0].save_to_preset(tmp_path / "again")
    loaded.append(type(model).from_preset(str(tmp_path / "again")))
    for copy in loaded:
        for theirs, ours in zip(outputs_of(copy), quantized, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
        head = copy.pooler if hasattr(copy, "pooler") else copy.head.transform_dense
        assert keras.backend.standardize_dtype(head.kernel.dtype) == "int8"  # of 4 bits, two stand in a byte
    if task == "next_sentence":
        assert keras.backend.standardize_dtype(copy.next_sentence_head.logits.kernel.dtype) == "int8"
