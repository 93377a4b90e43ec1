"""Damaged folders of `save_to_preset`, loaded and used."""

from budgetbert.models.loading import load_any
from tests.faults import damage
from tests.models.examples import masked_lm


class Cases:
    """Makes damaged copies of a masked-LM's folder. No part of it has a checksum."""

    def __init__(self, folder):
        self._sound, self._place = folder / "sound", folder / "damaged"
        self.write(self._sound)

    def write(self, folder):
        """Writes the sound folder."""
        masked_lm("tiny_crammed").save_to_preset(str(folder))

    def make(self, draw, number):
        damage.copy(self._sound, self._place)
        kind, paths = draw.choice(("json", "json", "json", "bytes", "bytes", "folder")), sorted(self._place.rglob("*"))
        paths = [path for path in paths if path.suffix in (".json", ".h5", ".safetensors", ".txt")]
        if kind == "json":
            what = damage.damage_json(draw.choice([path for path in paths if path.suffix == ".json"]), draw)
        elif kind == "bytes":
            what = damage.damage_bytes(draw.choice(paths), draw)
        else:
            what = damage.damage_folder(self._place, draw)

        def case():
            load_any(str(self._place)).fill_mask(["the [MASK] sat"], k=2)

        return case, f"{kind} {what}"
