"""A small GLUE folder that a small model can learn: cats are acceptable, dogs are not."""

import random

from tests.models.examples import masked_lm

_TAILS = ("sat on the mat", "on the mat sat", "sat", "on a mat", "sat on the dog mat", "the mat, the mat, on the mat")


def sentence(generator, positive):
    return f"the {'cat' if positive else 'dog'} {generator.choice(_TAILS)} {generator.choice('abcdefgh')}"


def write(directory, train=120, dev=40, tasks=("CoLA", "RTE", "STS-B", "MNLI")):
    """Writes tasks in the official layout; returns the folder."""
    for name in tasks:
        (directory / name).mkdir(parents=True, exist_ok=True)
        stems = [("train", train), ("dev", dev), ("test", dev)]
        if name == "MNLI":
            stems = [("train", train), *((f"{s}_{m}", dev) for s in ("dev", "test") for m in ("matched", "mismatched"))]
        for stem, count in stems:
            path = directory / name / f"{stem}.tsv"
            path.write_text("".join(f"{line}\n" for line in _lines(name, stem, count)), encoding="utf-8")
    return str(directory)


def _lines(name, stem, count):
    generator, test = random.Random(f"{name} {stem}"), stem.startswith("test")
    positives = [number % 3 != 0 for number in range(count)]
    if name == "CoLA":
        if test:
            return ["index\tsentence", *(f"{i}\t{sentence(generator, p)}" for i, p in enumerate(positives))]
        return [f"x\t{int(p)}\t\t{sentence(generator, p)}" for p in positives]
    columns = {"RTE": "label", "STS-B": "score", "MNLI": "gold_label"}[name]
    lines = ["\t".join(("index", "sentence1", "sentence2", *(() if test else (columns,))))]
    for i, p in enumerate(positives):
        first, second = sentence(generator, True), sentence(generator, p)
        label = {
            "RTE": "entailment" if p else "not_entailment",
            "STS-B": "4.800" if p else "0.400",
            "MNLI": "entailment" if p else ("neutral", "contradiction")[i % 2],
        }[name]
        lines.append(f"{i}\t{first}\t{second}" + ("" if test else f"\t{label}"))
    return lines


def pretrained():
    """A tiny masked-LM with a vocabulary that has the words of the folder."""
    return masked_lm("tiny_crammed", max_sequence_length=64)
