"""Absurd values of the flags of the recipes: the table of `tests.recipes.flag_values`, each recipe's in its order."""

import json

from budgetbert.errors import InputError
from tests.programs import call

RECIPES = (
    *("academic_24h", "cramming_24h", "frontier", "lamb_76min", "prepare_corpus", "finetune_glue", "export_model"),
    *("search", "continue_24h", "finetune", "predict"),
)


class Cases:
    """Takes the outcomes from one process for each recipe, as Keras must not be imported there."""

    def __init__(self, folder):
        self._folder, self._found = folder, []

    def make(self, draw, number):
        if not self._found:
            for recipe in RECIPES:
                (self._folder / recipe).mkdir(exist_ok=True)
                done = call("tests.recipes.flag_values", recipe, self._folder / recipe)
                self._found += [(recipe, *line) for line in json.loads(done.stdout)]
        recipe, name, value, ended = self._found[number % len(self._found)]

        def case():
            if ended == "sentence":
                raise InputError(f"--{name} was refused.")
            raise RuntimeError(ended)

        return case, f"{recipe} --{name} {value!r}"
