"""Makes finished runs of the same settings, each with its seed, the reference that reports compare such runs with.

Run       python tools/add_reference_curve.py runs/seed_0 runs/seed_1 runs/seed_2
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # reading needs no backend

from budgetbert import command_line
from budgetbert.training.record import read_record
from budgetbert.training.reference import PATH, SHARES, add_curve, make_curve


def main(*directories):
    if not directories:
        raise command_line.InputError("no run is given: name the --output_dir of one or more, finished.")
    curve = make_curve([read_record(directory) for directory in directories])
    add_curve(curve)
    for share, loss, spread in zip(SHARES, curve["losses"], curve["ranges"], strict=True):
        print(f"{share:4.0%} of the budget: {loss:.3f} nats, seeds within {spread:.3f}")
    print(PATH)


if __name__ == "__main__":
    command_line.run(main, arguments=True)
