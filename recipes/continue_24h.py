"""Continue: a BERT that exists learns a domain, or a language, on a budget.

Hardware  1 GPU, or a CPU for a small model; 1 TPU v3-8 (original, RoBERTa-base)
Time      24 h at most: the run ends where the loss of held-out text rises
Cost      24 GPU-hours at most
Expected  tasks of the domain gain 0 to 12 points of F1 (RoBERTa-base after 12,500 steps of 2,048 rows of 512)
Run       python recipes/continue_24h.py --initial_model MODEL --corpus TEXT --output_dir runs/continued
          MODEL: a model.keras, a preset's folder, a BERT of Hugging Face (folder or name); TEXT: files of your domain
Corpus    python recipes/prepare_corpus.py --corpus TEXT --vocabulary_from MODEL --row_start cls --output_dir DIR
Language  python recipes/prepare_corpus.py --corpus TEXT --nolowercase --nostrip_accents --row_start cls
              --output_dir DIR
          python recipes/continue_24h.py --initial_model MODEL --corpus DIR --to language --output_dir runs/language
Forgotten ... --keep_an_eye_on OLD      (a prepared corpus of the text from before: its loss stands in log and report)
Small     python recipes/continue_24h.py --demo --initial_model runs/demo/model.keras --output_dir runs/continued
Source    Gururangan et al. 2020, "Don't Stop Pretraining: Adapt Language Models to Domains and Tasks", table 13;
          embeddings first: Artetxe et al. 2020, de Vries & Nissim 2021, "As Good as New"
"""

import functools

from absl import flags as absl_flags

from budgetbert import command_line, schedules
from budgetbert.errors import InputError
from budgetbert.training.flags import define_flags, read_flags
from budgetbert.training.plan.initial_model import open_watched

FAMILY = "bert"  # Of architectures; the one that is trained comes from --initial_model.
PUBLISHED = {
    "preset": "bert_base",
    "budget": "24h",
    "learning_rate": None,  # It follows from the batch, see `rates`.
    "mask_rate": "0.15",
    "early_stop": "rising",
}
# A fifth of the 12,500 steps, ours: the new embeddings have to fit to the encoder before it moves.
STEPS = {"domain": (12500,), "language": (2500, 10000)}
SCHEDULE = functools.partial(schedules.linear, warmup=0.06)

define_flags(PUBLISHED)
absl_flags.DEFINE_enum("to", "domain", list(STEPS), "Text with the model's own vocabulary, or with one of its own.")
absl_flags.DEFINE_string("keep_an_eye_on", None, "A prepared corpus of the text from before, validated too.")


def rates(batch_size):
    """Returns the peak and the schedule: 5e-4 at 2,048 rows, 1e-4 at 256, as published; a power of the rows between."""
    return 1e-4 * (batch_size / 256) ** 0.774, SCHEDULE


def main():
    given = absl_flags.FLAGS
    if not given.initial_model:
        raise InputError("--initial_model is missing: name the model to go on from, or train one with another recipe.")
    new_vocabulary = given.to == "language"
    options = read_flags(FAMILY, new_vocabulary=new_vocabulary)
    open_watched(given.keep_an_eye_on)
    command_line.start_keras()

    import keras

    from budgetbert.training.pretrain import Phase, Recipe, pretrain

    steps = STEPS[given.to]  # of rows of 128 tokens here, 512 published
    recipe = Recipe(
        name="continue_24h",
        family=FAMILY,
        phases=tuple(
            Phase(batch_size=2048, rates=rates, steps=count, embeddings_only=number < len(steps) - 1)
            for number, count in enumerate(steps)
        ),
        preparation={"rows": "packed", "row_start": "cls", "dedup": "exact"},
        optimizer=lambda: keras.optimizers.AdamW(beta_1=0.9, beta_2=0.98, epsilon=1e-6, weight_decay=0.01),
        clip_norm=1.0,  # of the script that the paper's code has for GPUs; its table has none
        validate_at=tuple(i / 20 for i in range(1, 20)),
        new_vocabulary=new_vocabulary,
        keep_an_eye_on=given.keep_an_eye_on,
        flags={"to": given.to},
        **{name: value for name, value in PUBLISHED.items() if name != "early_stop"},
    )
    model = pretrain(recipe, options)
    if model and options.demo:
        from budgetbert.demo import show_filled_masks

        show_filled_masks(model)


if __name__ == "__main__":
    command_line.run(main)
