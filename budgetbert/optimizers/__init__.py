"""Optimizers as published, and which parameters they treat how."""

from budgetbert.optimizers.convert import change_optimizer as change_optimizer
from budgetbert.optimizers.convert import convert_optimizer as convert_optimizer
from budgetbert.optimizers.convert import optimizer_name as optimizer_name
from budgetbert.optimizers.convert import settings_of as settings_of
from budgetbert.optimizers.finetuning_adam import FinetuningAdam as FinetuningAdam
from budgetbert.optimizers.lamb import Lamb as Lamb
from budgetbert.optimizers.muon import Muon as Muon
from budgetbert.optimizers.parameter_groups import count_parts as count_parts
from budgetbert.optimizers.parameter_groups import exclude_from_weight_decay as exclude_from_weight_decay
from budgetbert.optimizers.parameter_groups import is_decayed as is_decayed
from budgetbert.optimizers.parameter_groups import is_hidden_matrix as is_hidden_matrix
