"""A folder of KerasHub carries the tokenizer."""

import pytest

from budgetbert.models import BertBudgetMaskedLM, BertBudgetTextClassifier
from budgetbert.models.loading import load_any

from .models import TEXTS, classifier, masked

pytestmark = pytest.mark.without_backend


def test_a_preset_folder_fills_masks_in_raw_strings(tmp_path):
    before = masked()
    before.save_to_preset(str(tmp_path / "preset"))
    model = BertBudgetMaskedLM.from_preset(str(tmp_path / "preset"))
    (masks,) = model.fill_mask(["The [MASK] sat."], k=3)
    assert [token for token, _ in masks[0]] == [token for token, _ in before.fill_mask(["The [MASK] sat."], k=3)[0][0]]


def test_a_classifiers_folder_knows_its_labels_and_reads_strings(tmp_path):
    before = classifier(pair=True)
    before.save_to_preset(str(tmp_path / "preset"))
    model = BertBudgetTextClassifier.from_preset(str(tmp_path / "preset"))
    assert (model.label_names, model.pair) == (before.label_names, True)
    x = (TEXTS, TEXTS[::-1])
    assert abs(model.predict(x, verbose=0) - before.predict(x, verbose=0)).max() < 1e-5


def test_a_folder_is_loaded_as_the_task_that_it_holds(tmp_path, recwarn):
    classifier().save_to_preset(str(tmp_path / "classifier"))
    masked().save_to_preset(str(tmp_path / "masked_lm"))
    recwarn.clear()
    assert isinstance(load_any(str(tmp_path / "classifier")), BertBudgetTextClassifier)
    assert isinstance(load_any(str(tmp_path / "masked_lm")), BertBudgetMaskedLM)
    assert not [warning for warning in recwarn if "random" in str(warning.message)]
