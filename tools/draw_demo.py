"""Draws README's picture: the loss of a run over its budget, and what its model fills in on the way.

python recipes/frontier.py --demo --marks 0.1,0.2,0.4,0.6,0.8 --output_dir runs/demo
python tools/draw_demo.py --run runs/demo --output docs/pictures/demo.png
"""

import os

from absl import flags

from budgetbert import command_line

flags.DEFINE_string("run", None, "The directory of a finished run of the demo, with --marks.")
flags.DEFINE_string("output", None, "The picture, as .png.")
flags.DEFINE_string("sentence", "He opened the [MASK] and went into the room.", "With one [MASK].")


def filled_in(run, sentence):
    """Returns what the models of a run fill in: dict of spent shares (float) to lists of (str, float)."""
    import keras

    import budgetbert.models  # noqa: F401

    marks = os.path.join(run, "marks")
    paths = {float(name.removesuffix(".keras")): os.path.join(marks, name) for name in os.listdir(marks)}
    paths[1.0] = os.path.join(run, "model.keras")
    return {
        share: keras.models.load_model(path, compile=False).fill_mask(sentence, k=3)[0]
        for share, path in sorted(paths.items())
    }


def draw(record, guesses, sentence, output):
    """Draws the picture.

    Args:
        record: `Record` of the run.
        guesses: dict, as `filled_in` returns it.
        sentence: str.
        output: str, the path of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    final = record.final
    whole, spent = final["flops"], final["seconds"]
    minutes = (spent["step"] + spent["validation"]) / 60
    flops, losses = record.series("flops", "validation_loss")
    figure, axes = pyplot.subplots(figsize=(9, 4.2), dpi=120, layout="constrained")
    axes.plot([each / 1e12 for each in flops], losses, "o-", color="C0")
    axes.axhline(record.unigram_entropy, color="C1", linestyle="--")
    axes.annotate(
        "knowing word frequencies alone", (whole / 1e12, record.unigram_entropy), ha="right", va="bottom", color="C1"
    )
    for share, row in guesses.items():
        told = "\n".join(f"{token} {probability:.0%}" for token, probability in row)
        place = share * whole / 1e12, 0.98
        axes.annotate(told, place, xycoords=("data", "axes fraction"), ha="center", va="top", fontsize=9)
        axes.axvline(place[0], ymax=0.82, color="0.85", linewidth=1, zorder=0)
    axes.set(
        xlabel=f"TFLOP ({minutes:.0f} minutes of these two cores)",
        ylabel="validation loss, nats per masked token",
        ylim=(min(losses) - 0.2, max(losses) + 1.4),
        xlim=(-0.02 * whole / 1e12, 1.06 * whole / 1e12),
    )
    axes.set_title(sentence, fontsize=11)
    figure.savefig(output)


def main():
    given = flags.FLAGS
    command_line.require("run", "output")
    command_line.check_exists("run")
    command_line.start_keras()

    from budgetbert.training.run.record import read_record

    draw(read_record(given.run), filled_in(given.run, given.sentence), given.sentence, given.output)


if __name__ == "__main__":
    command_line.run(main)
