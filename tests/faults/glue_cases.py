"""Damaged files of GLUE, plain and as .xz, read as finetuning reads them."""

import lzma

from budgetbert.finetuning import data
from tests.faults import damage
from tests.faults.fuzz import Silent
from tests.finetuning import folder as glue

_LINE = {
    "quote": lambda line: '"' + line,
    "zero bytes": lambda line: "\0" * 100 + line,
    "long": lambda line: line + "x" * 10**6,
    "tabs": lambda line: line + "\t" * 1000,
    "words for labels": lambda line: line.replace("1", "one").replace("0", "zero"),
    "nan": lambda line: line.rsplit("\t", 1)[0] + "\tnan",
    "infinite": lambda line: line.rsplit("\t", 1)[0] + "\tinf",
    "empty": lambda line: "",
    "alone": lambda line: line.split("\t")[0],
}


class Cases:
    """Makes damaged copies of a small folder. A plain text has no checksum, so that another one is no silent error."""

    def __init__(self, folder):
        self._sound, self._place = folder / "sound", folder / "damaged"
        glue.write(self._sound, train=40, dev=20)
        self._expected = _read(self._sound)

    def make(self, draw, number):
        damage.copy(self._sound, self._place)
        path = draw.choice(sorted(self._place.rglob("*.tsv")))
        kind = draw.choice(("bytes", "line", "line", "xz", "xz", "streams", "folder"))
        if kind == "bytes":
            what = damage.damage_bytes(path, draw)
        elif kind == "line":
            lines = path.read_text(encoding="utf-8").split("\n")
            place, name = draw.randrange(len(lines) - 1), draw.choice(sorted(_LINE))
            lines[place] = _LINE[name](lines[place])
            path.write_text("\n".join(lines), encoding="utf-8")
            what = f"{path.name} {place} {name}"
        elif kind == "folder":
            what = damage.damage_folder(self._place, draw)
        else:
            text = path.read_bytes()
            parts = [text] if kind == "xz" else [text[i : i + 500] for i in range(0, len(text), 500)]
            how, packed = damage.damaged_bytes(b"".join(map(lzma.compress, parts)), draw)
            path.with_suffix(".tsv.xz").write_bytes(packed)
            path.unlink()
            what = f"{path.name}.xz {how}"

        def case():
            found = _read(self._place)
            # Of an empty file of .xz nothing is left to tell that there was something.
            if kind in ("xz", "streams") and found != self._expected:
                raise Silent("other examples")

        return case, f"{kind} {what}"


def _read(folder):
    source = data.open_source(str(folder))
    tasks, _ = data.choose_tasks("all", source)
    read = [(task, split) for task in tasks for split in (task.train, *task.dev, *task.test) if split]
    examples = [(task.name, split.stem, source.read(task, split)) for task, split in read]
    return [(name, stem, part and (len(part), part.fingerprint)) for name, stem, part in examples]
