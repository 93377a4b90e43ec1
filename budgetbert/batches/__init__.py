"""Rows to training batches."""

from budgetbert.batches.inputs import row_inputs as row_inputs
from budgetbert.batches.length_bins import LengthBins as LengthBins
from budgetbert.batches.length_bins import mean_length as mean_length
from budgetbert.batches.loader import Loader as Loader
from budgetbert.batches.loader import stack as stack
from budgetbert.batches.masking import ALL_MASKED as ALL_MASKED
from budgetbert.batches.masking import PUBLISHED_SHARES as PUBLISHED_SHARES
from budgetbert.batches.masking import Masking as Masking
from budgetbert.batches.masking import predictions_per_row as predictions_per_row
