"""How fast masked batches are prepared, against how fast a device consumes them.

Each process reads its share of every micro-batch, with the loader's two threads, from rows on disk as a corpus has
them, and stacks them for the device. Processes start together; all that they read is divided by the time.

Run       python tools/benchmark_loader.py --processes 2 --consumption 210000 --json loader.json
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # rows need none

import multiprocessing
import tempfile
import time

from absl import app, flags
from training_setup import SETUPS, make_masking, make_rows
from turns import write_json

flags.DEFINE_integer("processes", 2, "How many read at once.", 1)
flags.DEFINE_integer("rows", 512, "Rows of a micro-batch, of all processes together.", 1)
flags.DEFINE_enum("family", "24h", list(SETUPS), "Whose recipe says row length and mask rate.")
flags.DEFINE_integer("vocabulary_size", 32768, "Entries.", 64)
# 50 % of an H200's measured matrix-product rate on bert_large_24h
flags.DEFINE_float("consumption", 210_000, "Tokens per second that a device consumes.")
flags.DEFINE_float("seconds", 10, "How long to measure.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

CORPUS_ROWS, WARM_UP = 100_000, 10


def read(path, share, settings, barrier, results):
    """Reads micro-batches and reports how many rows, and in which seconds."""
    import numpy as np

    from budgetbert.batches import Loader, stack

    rows, family, vocabulary_size, seconds = settings
    masking = make_masking(vocabulary_size, SETUPS[family])
    batches = Loader(np.load(path, mmap_mode="r"), masking, seed=0, share=share).read(0, rows)
    for _ in range(WARM_UP):
        next(batches)
    barrier.wait()
    start, done = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        done += len(stack([next(batches)], 1)["token_ids"][0])
    results.put((done, time.monotonic() - start))


def main(_):
    import numpy as np

    setup = SETUPS[FLAGS.family]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "rows.npy")
        np.save(path, make_rows(CORPUS_ROWS, FLAGS.vocabulary_size, setup).astype("uint16"))
        barrier, results = context.Barrier(FLAGS.processes), context.Queue()
        settings = FLAGS.rows, FLAGS.family, FLAGS.vocabulary_size, FLAGS.seconds
        readers = [
            context.Process(target=read, args=(path, (i, FLAGS.processes), settings, barrier, results), daemon=True)
            for i in range(FLAGS.processes)
        ]
        for reader in readers:
            reader.start()
        read_by = [results.get() for _ in readers]
        for reader in readers:
            reader.join()
    rows_per_second = sum(done / seconds for done, seconds in read_by)
    tokens_per_second = rows_per_second * setup.sequence_length
    result = {
        "processes": FLAGS.processes,
        "cores": os.cpu_count(),
        "ours": {"rows_per_second": rows_per_second, "tokens_per_second": tokens_per_second},
        "peer": {"tokens_per_second": FLAGS.consumption, "what": "the consumption of a device"},
        "ratio": tokens_per_second / FLAGS.consumption,
    }
    print(f"{FLAGS.processes} processes on {result['cores']} cores, rows of {setup.sequence_length}")
    print(f"  read      {rows_per_second:9,.0f} rows/s  {tokens_per_second:11,.0f} tokens/s")
    print(f"  consumed                    {FLAGS.consumption:11,.0f} tokens/s")
    print(f"  ratio {result['ratio']:.2f}")
    write_json(result, FLAGS.json)


if __name__ == "__main__":
    app.run(main)
