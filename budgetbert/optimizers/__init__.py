"""Optimizers as published, and which parameters they treat how."""

from budgetbert.optimizers.lamb import Lamb as Lamb
from budgetbert.optimizers.parameter_groups import count_parts as count_parts
from budgetbert.optimizers.parameter_groups import exclude_from_weight_decay as exclude_from_weight_decay
from budgetbert.optimizers.parameter_groups import is_decayed as is_decayed
from budgetbert.optimizers.parameter_groups import is_hidden_matrix as is_hidden_matrix
