"""Draws README's picture: the loss of a run over minutes, and what its model fills in on the way, both from its log.

python recipes/frontier.py --demo --output_dir runs/demo
python tools/draw_demo.py --run runs/demo --sample 1 --output docs/pictures/demo.png
"""

import textwrap

from absl import flags

from budgetbert import command_line
from budgetbert.errors import InputError
from budgetbert.training.run.record import read_record

flags.DEFINE_string("run", None, "The directory of a finished run.")
flags.DEFINE_string("output", None, "The picture, as .png.")
flags.DEFINE_integer("sample", 0, "Which of the held-out texts of the log.", 0)


def draw(record, sample, output):
    """Draws the picture.

    Args:
        record: `Record` of the run.
        sample: int.
        output: str, the path of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seconds, losses = record.series("elapsed_seconds", "validation_loss")
    at = dict(zip(record.series("step", "validation_loss")[0], seconds, strict=True))
    figure, axes = pyplot.subplots(figsize=(9, 4.4), dpi=120, layout="constrained")
    axes.plot([each / 60 for each in seconds], losses, "o-", color="C0")
    axes.axhline(record.unigram_entropy, color="C1", linestyle="--")
    entropy = seconds[-1] / 60, record.unigram_entropy
    axes.annotate("the frequency of words alone", entropy, ha="right", va="bottom", color="C1")
    for line in record.samples:
        minute = at[line["step"]] / 60
        told = "\n".join(f"{token}  {share:.0%}" for token, share in line["samples"][sample]["answers"][:3])
        axes.axvline(minute, ymax=0.76, color="0.85", linewidth=1, zorder=0)
        axes.annotate(told, (minute, max(losses) + 1.7), ha="center", va="top")
    shown = record.samples[-1]["samples"][sample]
    title = textwrap.fill(shown["text"], 95) + f"\n[MASK] was: {shown['expected']}. What the model fills in:"
    axes.set_title(title, fontsize=10, loc="left")
    axes.set(xlabel="minutes", ylabel="validation loss, nats", ylim=(min(losses) - 0.3, max(losses) + 1.8))
    figure.savefig(output)


def main():
    given = flags.FLAGS
    command_line.require("run", "output")
    command_line.check_exists("run")
    record = read_record(given.run)
    if not record.samples or given.sample >= len(record.samples[0]["samples"]):
        raise InputError(f"--sample {given.sample} is none of the texts in the log of {given.run}: give a lower one.")
    draw(record, given.sample, given.output)


if __name__ == "__main__":
    command_line.run(main)
