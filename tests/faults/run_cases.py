"""Damaged directories of runs: taken up by the same call, trained to the end, reported, and shown again."""

import json
import shutil

import keras
import numpy as np

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.training.run.report import write_report
from budgetbert.training.step.base import make_step
from tests.faults import damage
from tests.faults.fuzz import Silent
from tests.faults.texts import write_text
from tests.training.runs import train

_LINES = (
    *("", "null", "5", "[]", "{}", '{"step":null}', '{"final":true}', '{"resumed_from_step":"x"}', "[" * 100_000),
    *('{"step":1e999}', '{"mark":[1]}', '{"incident":5}', '{"learning_rate":1}', '{"validation_loss":1,"step":"a"}'),
    *('{"samples":3,"step":1}', "\0" * 300, '{"final":1,"step":{}}', '{"incident":"rollback","step":"x"}'),
)


class Cases:
    """Makes damaged copies of a run that was stopped at its half, and of a finished one.

    One compiled step is used again for all, with the weights that it began with.
    """

    def __init__(self, folder):
        options = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}
        self._corpus = prepare_corpus(write_text(folder / "text.txt"), folder / "corpus", **options).directory
        self._half, self._finished, self._place = (folder / name for name in ("half", "finished", "damaged"))
        self._step = None
        self._train(self._half, stop_at=0.5)
        self._train(self._finished)
        self._expected = _weights(self._finished)

    def _train(self, directory, **flags):
        return train(self._corpus, directory, marks="0.75", make_step=self._make_step, **flags)

    def _make_step(self, *arguments):
        if self._step is None:
            self._step = make_step(*arguments)
            values = (*self._step.model.variables, *self._step.optimizer.variables)
            self._begin = [(value, keras.ops.convert_to_numpy(value)) for value in values]
            self._state = json.loads(json.dumps(self._step.state))
        for variable, value in self._begin:
            variable.assign(value)
        self._step.load(self._state)
        return self._step

    def make(self, draw, number):
        finished = number % 5 == 4
        damage.copy(self._finished if finished else self._half, self._place)
        newest = max((self._place / "checkpoints").iterdir())
        comparable, kind = (
            True,
            draw.choice(("json", "json", "unsummed", "log", "log", "bytes", "bytes", "folder", "odd")),
        )
        if kind in ("json", "unsummed"):
            paths = [self._place / "recipe.json", self._place / "plan.json", newest / "state.json"]
            comparable = kind == "json"
            what = damage.damage_json(
                draw.choice(paths), draw, lambda value: comparable or (isinstance(value, dict) and _without_sum(value))
            )
        elif kind == "log":
            what = _damage_log(self._place / "log.jsonl", draw)
        elif kind == "bytes":
            paths = [*newest.iterdir(), *self._place.glob("*.json*"), *self._place.glob("model.keras")]
            what = damage.damage_bytes(draw.choice(sorted(paths)), draw)
        elif kind == "folder":
            what = damage.damage_folder(self._place, draw)
        else:
            what = _make_odd(self._place, newest, draw)

        def case():
            self._train(self._place)
            write_report(str(self._place))
            if comparable and any(
                not np.array_equal(a, b) for a, b in zip(_weights(self._place), self._expected, strict=True)
            ):
                raise Silent("other weights")

        def told():
            try:
                case()
            finally:
                keras.backend.clear_session(free_memory=False)

        return told, f"{'finished' if finished else 'half'} {kind} {what}"


def _weights(directory):
    return keras.models.load_model(directory / "model.keras").get_weights()


def _without_sum(value):
    value.pop("sha256", None) if isinstance(value.get("sha256"), str) else value.get("sha256", {}).pop("state.json", 0)


def _damage_log(path, draw):
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    place = draw.randrange(len(lines))
    if draw.random() < 0.5:
        value = json.loads(lines[place])
        what = damage.damage_value(value, draw)
        lines[place] = json.dumps(value) + "\n"
    else:
        line = draw.choice(_LINES)
        lines.insert(place, line + "\n")
        what = f"with {line[:40]!r}"
    path.write_text("".join(lines), encoding="utf-8")
    return f"line {place} {what}"


def _make_odd(run, newest, draw):
    """Puts things into a run's directory that no program of ours leaves there."""
    before = min(path for path in newest.parent.iterdir() if path.name.startswith("step-"))
    kind = draw.choice(range(14))
    if kind == 0:
        newest.rename(run / "moved")
        newest.symlink_to(run / "moved")
    elif kind == 1:
        (newest.parent / "step-99999999").write_text("x")
    elif kind == 2:
        (newest.parent / f"step-{'9' * 30}").mkdir()
    elif kind == 3:
        (newest.parent / "step-٠٠٠٠٠٠٩٩").mkdir()
    elif kind == 4:
        shutil.rmtree(newest.parent)
        newest.parent.write_text("x")
    elif kind == 5:
        (run / "log.jsonl").unlink()
        (run / "log.jsonl").mkdir()
    elif kind == 6:
        (run / "log.tmp.jsonl").mkdir()
    elif kind == 7:
        (run / ".lock").unlink(missing_ok=True)
        (run / ".lock").mkdir()
    elif kind == 8:
        newest.rename(newest.with_name("step-00000055"))
    elif kind == 9:
        newest.rename(run / "aside")
        before.rename(newest)
        (run / "aside").rename(before)
    elif kind == 10:
        shutil.copy(before / "state.json", newest / "state.json")
    elif kind == 11:
        shutil.copy(before / "model.keras", newest / "model.keras")
    elif kind == 12:
        shutil.rmtree(newest.parent)
    else:
        (run / draw.choice(("recipe.json", "plan.json", "log.jsonl"))).unlink()
    return f"odd {kind}"
