"""Cramming: the crammed BERT in one day on one consumer GPU, rate and batch tied to the clock.

Hardware  1 GPU: RTX 2080 Ti, A4000 or A6000 (original)
Time      24 h
Cost      24 GPU-hours
Expected  training MLM loss 1.97 on an A5500 (validation loss not published), after 9.1 G tokens on an A6000;
          GLUE dev mean 80.4 (A6000), 79.2 (A4000), 78.9 (2080 Ti)
Run       python recipes/cramming_24h.py --corpus DIR --output_dir runs/cramming
Corpus    as its configurations (and as this recipe prepares raw text):
          python recipes/prepare_corpus.py --corpus TEXT --normalizer cramming --filter t=0.25
              --order short_sentences_first --dedup none --output_dir DIR
          as its paper's text: the same with --filter t=0.3 --order frequent_first
Small     python recipes/cramming_24h.py --demo --output_dir runs/demo     (a laptop, about 6 minutes)
Source    Geiping & Goldstein 2022, "Cramming: Training a Language Model on a Single GPU in One Day" (ICML 2023 code)
"""

import functools

from budgetbert import command_line, schedules
from budgetbert.training.flags import define_flags, read_flags

FAMILY = "crammed"  # Of architectures, where --preset names a size.
PUBLISHED = {
    "preset": "crammed_base",
    "budget": "24h",
    "learning_rate": 1e-3,
    "mask_rate": "0.25",  # 32 of 128: 26 [MASK], 3 random, 3 kept
    "batch_ramp": 0.6,  # from one micro-batch to 8,192 rows
}

define_flags(PUBLISHED)


def main():
    options = read_flags(FAMILY)
    command_line.start_keras()

    import keras

    from budgetbert.training.pretrain import Phase, Recipe, pretrain

    # Its learning rate goes below 0 where the budget is overrun; ours ends at 0.
    schedule = functools.partial(schedules.triangle, start=0.25, cooldown=0.25)  # budget-triangle2
    recipe = Recipe(
        name="cramming_24h",
        family=FAMILY,
        phases=(Phase(batch_size=8192, schedule=schedule),),
        preparation={
            "rows": "packed",
            "vocabulary_size": 32768,
            "normalizer": "cramming",
            "filter": "t=0.25",
            "order": "short_sentences_first",
            "dedup": "none",  # as for the Pile; `c4-subset-processed` has substring:75
        },
        optimizer=lambda: keras.optimizers.AdamW(beta_1=0.9, beta_2=0.98, epsilon=1e-12, weight_decay=0.01),
        clip_norm=0.5,
        dropout=False,  # inactive in pretraining; the saved architecture has it, for finetuning
        **PUBLISHED,
    )
    model = pretrain(recipe, options)
    if model and options.demo:
        from budgetbert.demo import show_filled_masks

        show_filled_masks(model)


if __name__ == "__main__":
    command_line.run(main)
