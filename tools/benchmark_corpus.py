"""Preparing a corpus: ours against Hugging Face's `datasets`, in one run.

Both turn the same files into rows of 128 tokens with the same given vocabulary, lower-cased and without accents, no
filter and no deduplication: from compressed files to rows on disk. Ours also cleans the text, holds documents out and
hashes what it wrote. The peer is what transformers' example `run_mlm.py` does: `load_dataset`, `map` with a fast
tokenizer and `map` with `group_texts`, in batches of 1,000 documents; its caches are in a fresh directory.

The sides take turns, A B A B ..., each in a process of its own, whose imports do not count; medians are printed. Memory
is the sum of the resident sizes of that process and all below it, sampled every 0.1 s: what processes share counts
several times, so it is never less than what is used. CPU seconds are those of that process and all below it.

Run       python tools/benchmark_corpus.py --rounds 3 --json corpus.json        (BUDGETBERT_DATA names the real data)
Hardware  any CPU        Time      15 minutes on 2 cores for 200 MB of Wikipedia
"""

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import harness
from absl import flags

from budgetbert import command_line
from budgetbert.errors import InputError

flags.DEFINE_string("corpus", None, "A folder of .jsonl.xz files; by default Wikipedia in BUDGETBERT_DATA.")
flags.DEFINE_integer("parts", None, "Take only this many files of it; by default all.", 1)
flags.DEFINE_string("vocabulary", None, "The vocabulary of both; by default one of 32,768 entries, trained on a file.")
flags.DEFINE_integer("workers", 2, "Processes of each side.", 1)
flags.DEFINE_integer("rounds", 3, "How often each side runs.", 1)
flags.DEFINE_integer("repeat", 1, "Take each file this often, under other names, to see what more text needs.", 1)
flags.DEFINE_bool("peer", True, "Run the peer, too.")
flags.DEFINE_string("json", None, "File for the figures.")
flags.DEFINE_enum("child", None, ["ours", "peer"], "For the tool's own use: run this side, in this directory.")
flags.DEFINE_string("directory", None, "For the tool's own use.")
FLAGS = flags.FLAGS

LENGTH = 128
_INTERVAL = 0.1


def ours(text, vocabulary, directory):
    """Prepares `text` (`Path` of a folder); returns seconds, tokens and bytes on disk."""
    from budgetbert.corpus.prepare import prepare_corpus

    started = time.perf_counter()
    corpus = prepare_corpus(
        str(text),
        directory / "corpus",
        vocabulary=vocabulary,
        dedup="none",
        workers=FLAGS.workers,
        sequence_length=LENGTH,
    )
    seconds = time.perf_counter() - started
    tokens = LENGTH * sum(corpus.manifest["counts"]["rows"].values())
    written = [corpus.directory / shard["file"] for shard in corpus.manifest["shards"]]
    return seconds, tokens, sum(path.stat().st_size for path in written)


def peer(text, vocabulary, directory):
    """The same with `datasets`, as `run_mlm.py`."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    tokenizer = transformers.BertTokenizerFast(vocabulary)
    transformers.logging.set_verbosity_error()  # that documents are longer than a model's positions

    def tokenize(examples):
        return tokenizer(examples["text"], return_special_tokens_mask=True)

    def group_texts(examples):
        joined = {key: list(itertools.chain(*examples[key])) for key in examples}
        total = len(joined["input_ids"]) // LENGTH * LENGTH
        return {key: [ids[i : i + LENGTH] for i in range(0, total, LENGTH)] for key, ids in joined.items()}

    started = time.perf_counter()
    files = sorted(str(path) for path in text.iterdir())
    raw = datasets.load_dataset(
        "json", data_files=files, split="train", cache_dir=str(directory), num_proc=FLAGS.workers
    )
    tokenized = raw.map(tokenize, batched=True, num_proc=FLAGS.workers, remove_columns=raw.column_names)
    grouped = tokenized.map(group_texts, batched=True, num_proc=FLAGS.workers)
    seconds = time.perf_counter() - started
    return seconds, LENGTH * len(grouped), sum(Path(file["filename"]).stat().st_size for file in grouped.cache_files)


def run_child(side, text, vocabulary):
    """Runs a side in a process of its own and a fresh directory, and returns its figures as a dict."""
    with tempfile.TemporaryDirectory(dir=FLAGS.directory) as directory:
        command = [sys.executable, __file__, "--child", side, "--corpus", str(text), "--vocabulary", vocabulary]
        command += ["--workers", str(FLAGS.workers), "--directory", directory]
        result = Path(directory, "result.json")
        environment = os.environ | {"HF_HOME": directory, "HF_DATASETS_CACHE": directory, "HF_HUB_OFFLINE": "1"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen([*command, "--json", str(result)], env=environment, stderr=subprocess.PIPE)
        memory = _PeakMemory(process.pid)
        memory.start()
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{side} failed:\n{errors.decode(errors='replace')}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return json.loads(result.read_text()) | {"cpu_seconds": cpu_seconds, "peak_memory_bytes": memory.stop()}


class _PeakMemory(threading.Thread):
    """Watches the resident memory of a process and of all below it."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self._pid, self._peak, self._ended = pid, 0, threading.Event()

    def run(self):
        while not self._ended.wait(_INTERVAL):
            self._peak = max(self._peak, sum(map(_resident_bytes, _tree(self._pid))))

    def stop(self):
        """Ends the watch and returns the peak, in bytes."""
        self._ended.set()
        self.join()
        return self._peak


def _tree(pid):
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def _resident_bytes(pid):
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def link_text(folder):
    """Makes a folder of links to the files that are to be prepared."""
    if not FLAGS.corpus and "BUDGETBERT_DATA" not in os.environ:
        raise InputError("--corpus is missing, and BUDGETBERT_DATA is not set: name a folder of text.")
    source = Path(FLAGS.corpus or Path(os.environ["BUDGETBERT_DATA"], "corpus", "wikipedia"))
    files = sorted(source.glob("*.jsonl*"))[: FLAGS.parts]
    if not files:
        raise InputError(f"{source} holds no .jsonl files: name a folder of text.")
    folder.mkdir()
    for copy in range(FLAGS.repeat):
        for file in files:
            (folder / f"{copy:03d}-{file.name}").symlink_to(file.resolve())
    return folder


def train_vocabulary(text, directory):
    """Returns the path of a vocabulary that is trained on the first file of a folder."""
    from budgetbert.corpus.prepare import prepare_corpus

    first = min(text.iterdir())
    prepared = prepare_corpus(str(first), directory / "trained", workers=FLAGS.workers)
    return str(prepared.directory / "vocabulary.txt")


def medians(runs):
    """Returns the medians of the figures of runs of one side."""
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    found["tokens_per_second"] = statistics.median(run["tokens"] / run["seconds"] for run in runs)
    found["bytes_per_token"] = found["bytes"] / found["tokens"]
    return found


def main():
    if FLAGS.child:
        text, directory = Path(FLAGS.corpus), Path(FLAGS.directory)
        seconds, tokens, size = {"ours": ours, "peer": peer}[FLAGS.child](text, FLAGS.vocabulary, directory)
        harness.write_json({"seconds": seconds, "tokens": tokens, "bytes": size}, FLAGS.json)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark_corpus_", dir=FLAGS.directory) as directory:
        FLAGS.directory = directory
        text = link_text(Path(directory, "text"))
        vocabulary = FLAGS.vocabulary or train_vocabulary(text, Path(directory))
        runs = {side: [] for side in (("ours", "peer") if FLAGS.peer else ("ours",))}
        for _ in range(FLAGS.rounds):
            for side, done in runs.items():
                done.append(run_child(side, text, str(vocabulary)))
                told = f"{done[-1]['seconds']:,.1f} s, {done[-1]['cpu_seconds']:,.1f} s of CPU"
                print(f"  {side:<6}{told}", file=sys.stderr)
    result = {"unit": "tokens/s", **{side: medians(done) for side, done in runs.items()}, "runs": runs}
    for side in runs:
        told = result[side]
        print(
            f"{side:<5}{told['tokens_per_second']:11,.0f} tokens/s ({told['tokens']:,.0f} in {told['seconds']:,.1f} s, "
            f"{told['cpu_seconds']:,.1f} s of CPU), {told['bytes_per_token']:.3f} bytes per token on disk, "
            f"{told['peak_memory_bytes'] / 1e6:,.0f} MB of memory"
        )
    if FLAGS.peer:
        result["ratio"] = result["ours"]["tokens_per_second"] / result["peer"]["tokens_per_second"]
        print(f"ratio{result['ratio']:11.2f}")
    harness.write_json(result, FLAGS.json)


if __name__ == "__main__":
    command_line.run(main)
