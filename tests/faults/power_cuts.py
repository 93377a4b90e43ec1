"""A run that ends as if the power were cut, right before or right behind one of its renames.

Run       python -m tests.faults.power_cuts CORPUS OUTPUT_DIR NUMBER

Of the renames of a run (of a file or a folder that is whole into its place) the one of this number is the last thing
that the process does; of a NUMBER and a half it is not done any more. It says how many renames there were otherwise.
"""

import os
import signal
import sys

from tests.training.runs import train


def main(corpus, output_dir, number):
    replace, done = os.replace, 0

    def cut(source, target, **options):
        nonlocal done
        if done + 0.5 == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **options)
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = cut
    train(corpus, output_dir, marks="0.5", report=True, checkpoint_every="2steps", keep_checkpoints=2)
    print(f"renames: {done}")


if __name__ == "__main__":
    main(*sys.argv[1:3], float(sys.argv[3]))
