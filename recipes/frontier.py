"""Frontier: the most that minutes on a laptop buy, beyond the three published recipes.

Hardware  2 CPU cores, or one small GPU
Time      10 min
Cost      nothing to speak of
Expected  see the table in README
Run       python recipes/frontier.py --corpus DIR --output_dir runs/frontier
Corpus    python recipes/prepare_corpus.py --corpus TEXT --vocabulary_size 8192 --output_dir DIR
Small     python recipes/frontier.py --demo --output_dir runs/demo     (a laptop, about 6 minutes)
Source    ours, from crammed-BERT (Geiping & Goldstein 2022) and Muon (Jordan et al. 2024); docs/LOG.md has what each
          part buys
"""

import functools

from budgetbert import command_line, schedules
from budgetbert.training.flags import define_flags, read_flags

FAMILY = "frontier"  # Of architectures, where --preset names a size.
SETTINGS = {
    "preset": "tiny_frontier",
    "budget": "10m",
    "learning_rate": 6e-3,  # of the hidden matrices; embeddings and norms take half of it
    "mask_rate": "0.30",  # more words to learn from in a short run; held-out rows have 0.15 as everywhere
}

define_flags(SETTINGS)


def main():
    options = read_flags(FAMILY, demo={"preset": SETTINGS["preset"], "budget": "3m"})
    command_line.start_keras()

    from budgetbert.batches import ALL_MASKED
    from budgetbert.optimizers import Muon
    from budgetbert.training.pretrain import Phase, Recipe, pretrain

    recipe = Recipe(
        name="frontier",
        family=FAMILY,
        phases=(Phase(batch_size=32, schedule=functools.partial(schedules.linear, warmup=0.1)),),
        preparation={"rows": "packed", "vocabulary_size": 8192, "dedup": "exact"},
        optimizer=lambda: Muon(1e-3, weight_decay=0.01, adam_rate=0.5),
        clip_norm=1.0,
        dropout=False,
        mask_shares=ALL_MASKED,
        **SETTINGS,
    )
    model = pretrain(recipe, options)
    if model and options.demo:
        from budgetbert.demo import show

        show(model, options.output_dir)


if __name__ == "__main__":
    command_line.run(main)
