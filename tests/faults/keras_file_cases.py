"""Damaged `.keras` files, also packed again with the right checksums: loaded, looked at, and used."""

import io
import json
import zipfile

import numpy as np

from budgetbert.models.loading import load_any
from tests.faults import damage
from tests.faults.fuzz import Silent
from tests.models.examples import masked_lm

_EVIL = (
    {"class_name": "__lambda__", "config": {"code": "4w==", "defaults": None, "closure": None}},
    {"module": "os", "class_name": "system", "registered_name": "system", "config": {"command": "touch /tmp/no"}},
    {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "x"}, "registered_name": None},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}, "registered_name": None},
    {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
)


class Cases:
    """Makes damaged copies of a masked-LM's file."""

    def __init__(self, folder):
        self._sound, self._place = folder / "sound.keras", folder / "damaged.keras"
        masked_lm("tiny_crammed").save(self._sound)
        with zipfile.ZipFile(self._sound) as archive:
            self._parts = {name: archive.read(name) for name in archive.namelist()}
        self._expected = load_any(str(self._sound))

    def make(self, draw, number):
        parts, kind = (
            dict(self._parts),
            draw.choice(("bytes", "bytes", "config", "config", "part", "lost", "evil", "zip")),
        )
        name = draw.choice(sorted(parts))
        # What is packed again says of itself that it is sound; only what is kept as bytes can be told from the sound.
        comparable = kind == "bytes"
        if kind == "bytes":
            what, data = damage.damaged_bytes(self._sound.read_bytes(), draw)
            self._place.write_bytes(data)
        else:
            if kind == "config":
                value = json.loads(parts["config.json"])
                what = damage.damage_value(value, draw)
                parts["config.json"] = json.dumps(value).encode()
            elif kind == "part":
                how, parts[name] = damage.damaged_bytes(parts[name], draw)
                what = f"{name} {how}"
            elif kind == "lost":
                del parts[name]
                what = name
            elif kind == "evil":
                value = json.loads(parts["config.json"])
                node, key = draw.choice(list(damage.places(value)))
                node[key] = draw.choice(_EVIL)
                what = f"{key}={str(node[key])[:60]}"
                parts["config.json"] = json.dumps(value).encode()
            else:
                what = draw.choice(("../../up", "/tmp/no", "utf16", "deflated"))
                if what == "utf16":
                    parts["config.json"] = parts["config.json"].decode().encode("utf-16")
            self._write(parts, what)

        def case():
            model = load_any(str(self._place))
            model.fill_mask(["the [MASK] sat"], k=2)
            ours, theirs = model.get_weights(), self._expected.get_weights()
            same = len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
            entries = [each.preprocessor.tokenizer.vocabulary for each in (model, self._expected)]
            if comparable and (not same or entries[0] != entries[1]):
                raise Silent("another model")

        return case, f"{kind} {what}"

    def _write(self, parts, what):
        packed, compression = io.BytesIO(), zipfile.ZIP_DEFLATED if what == "deflated" else zipfile.ZIP_STORED
        with zipfile.ZipFile(packed, "w", compression) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
            if what in ("../../up", "/tmp/no"):
                archive.writestr(what, b"x")
        self._place.write_bytes(packed.getvalue())
