"""One flipped bit in the `state.json` of a checkpoint: the checkpoint before is taken, or nothing has changed."""

import json

from budgetbert.errors import InputError
from budgetbert.training.loop.state import check_state
from budgetbert.training.run.checkpoint_directory import read_state
from tests.faults.fuzz import Silent
from tests.faults.run_cases import Cases as RunCases


class Cases(RunCases):
    """Flips bits in the newest checkpoint of the run that was stopped at its half."""

    def make(self, draw, number):
        path = max((self._half / "checkpoints").iterdir())
        sound = getattr(self, "_sound", None)
        if sound is None:
            sound = self._sound = (path / "state.json").read_bytes()
        data = bytearray(sound)
        place, bit = draw.randrange(len(data)), draw.randrange(8)
        data[place] ^= 1 << bit

        def case():
            (path / "state.json").write_bytes(data)
            try:
                state = read_state(path)
                check_state(int(path.name[5:]), state)
            # `Checkpoints.restore` takes each of them for damage, and the checkpoint before.
            except Exception as error:
                raise InputError(f"{path} is corrupt.") from error
            finally:
                (path / "state.json").write_bytes(sound)
            if state != json.loads(sound):
                raise Silent("another state")

        return case, f"bit {bit} of byte {place}"
