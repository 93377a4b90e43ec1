"""24hBERT: BERT-large in one day on one small server, its learning rate tied to the clock.

Hardware  8 x 12 GB GPUs (original)
Time      24 h
Cost      $50 to $400, by whom you ask
Expected  validation MLM loss about 1.6 after 12.1 G tokens, GLUE test mean 78.5
Run       python recipes/academic_24h.py --corpus DIR --output_dir runs/academic
Small     python recipes/academic_24h.py --demo --output_dir runs/demo     (a laptop, about 6 minutes)
Source    Izsak, Berchansky & Levy 2021, "How to Train BERT with an Academic Budget"
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # flags are read and the backend is chosen before its import

from budgetbert import command_line, schedules
from budgetbert.training import options

PUBLISHED = {"preset": "bert_large_24h", "budget": "24h", "learning_rate": 1e-3, "mask_rate": "0.15"}

options.define_flags(**PUBLISHED)


def main():
    flags = options.read_flags()
    command_line.start_keras()

    import keras

    from budgetbert.training.display import show_filled_masks
    from budgetbert.training.pretrain import Recipe, pretrain

    recipe = Recipe(
        name="academic_24h",
        family="24h",
        batch_size=4096,
        row_kind="sentences",
        optimizer=lambda: keras.optimizers.AdamW(beta_1=0.9, beta_2=0.98, epsilon=1e-6, weight_decay=0.01),
        clip_norm=None,
        schedule=lambda x: schedules.linear(x, warmup=0.06),
        **PUBLISHED,
    )
    model = pretrain(recipe, flags)
    if model and flags.demo:
        show_filled_masks(model)


if __name__ == "__main__":
    command_line.run(main)
