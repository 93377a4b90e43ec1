"""Damaged folders of Hugging Face, loaded and used."""

import os

from budgetbert.export.transformers_folder import write_transformers
from tests.faults.preset_cases import Cases as PresetCases
from tests.models.examples import masked_lm


class Cases(PresetCases):
    """Makes damaged copies of an export."""

    def write(self, folder):
        os.makedirs(folder)
        write_transformers(masked_lm("tiny_bert"), str(folder))
