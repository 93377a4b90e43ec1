import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTextClassifier

from .examples import batch, encoder, masked_lm, to_numpy


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
@pytest.mark.parametrize("make", [lambda: BertBudgetTextClassifier(encoder("tiny_24h"), 3), masked_lm])
def test_a_quantized_task_comes_back_from_its_file(make, tmp_path):
    model, inputs = make(), batch(full=False)
    if "mask_positions" in model.input:
        inputs["mask_positions"] = np.array([[1, 5]] * 3, "int32")
    before = to_numpy(model(inputs))
    model.quantize("int8")
    quantized = to_numpy(model(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(to_numpy(loaded(inputs)), quantized, atol=1e-5)
    np.testing.assert_allclose(quantized, before, atol=0.1)
    head = loaded.pooler if hasattr(loaded, "pooler") else loaded.head.transform_dense
    assert head.kernel.dtype == "int8"
