"""Raw text becomes a prepared corpus: a WordPiece vocabulary and rows of 128 tokens, for every training recipe.

Hardware  any CPU; memory about 450 MB per process, however large the text
Time      75 MB of novels 15 s on 2 cores, the demo text 20 s        Expected  17 million tokens in 132,476 rows
Killed?   The same command goes on where it was, and gives the same bytes.
Run       python recipes/prepare_corpus.py --corpus PATH --output_dir DIR
Source    packed rows: Geiping & Goldstein 2022; vocabulary: Devlin et al. 2019
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # nothing here needs it, and it takes 5 seconds to import

from absl import flags

from budgetbert import command_line

flags.DEFINE_string(
    "corpus",
    None,
    "demo; files, folders or patterns of .txt, .jsonl, .parquet, MediaWiki dumps (.xml) and WikiExtractor's wiki_00, "
    "also with .gz, .bz2, .xz or .zst; or hf:NAME[:CONFIG]. Several with commas, perhaps with shares: A@0.7,B@0.3.",
)
flags.DEFINE_string("output_dir", None, "Where the prepared corpus appears.")
flags.DEFINE_string("text_field", "text", "The field or column with the text, in .jsonl, .parquet and hf: sources.")
flags.DEFINE_string("split", "train", "The split of hf: sources.")
flags.DEFINE_string("dedup", "exact", "none, exact, near (similar documents) or substring:N (stretches of N bytes).")
flags.DEFINE_string("filter", "none", "none, or t=0.3: keep a document of less than 0.3 tokens per character.")
flags.DEFINE_integer("min_characters", 0, "Leave shorter documents out.")
flags.DEFINE_string("language", None, "Leave documents in other languages out; a code such as en.")
flags.DEFINE_bool("drop_repeated_lines", False, "Drop lines that stood in the same document before.")
flags.DEFINE_integer("vocabulary_size", None, "Entries to train; 32,768 by default, 8,192 for demo.")
flags.DEFINE_string("vocabulary", None, "A vocabulary file to use instead of training one.")
flags.DEFINE_bool("lowercase", True, "Fold the case.")
flags.DEFINE_bool("strip_accents", True, "Drop combining marks.")
flags.DEFINE_string("normalizer", "bert", "bert, or cramming: English only, what is not ASCII is dropped.")
flags.DEFINE_integer("sequence_length", 128, "Tokens in a row.")
flags.DEFINE_string("rows", "packed", "packed: documents run on from row to row; sentences: whole ones; or pairs.")
flags.DEFINE_string("row_start", "none", "none, or cls: every packed row starts with [CLS].")
flags.DEFINE_string("order", "shuffled", "shuffled, frequent_first or short_sentences_first.")
flags.DEFINE_float("validation_fraction", None, "Share of documents held out, by hash; 0.005, for demo 0.03.")
flags.DEFINE_integer("workers", None, "Processes; by default one per CPU core.")
flags.DEFINE_enum("engine", "processes", ["processes", "datatrove"], "What starts them; the shards are the same.")
flags.DEFINE_bool("verify", False, "Check the sha256 of every shard; without --corpus, of an existing corpus.")

_NOT_OPTIONS = ("corpus", "output_dir", "verify", "engine")


def datatrove_workers(number, output_dir):
    """Returns workers of `datatrove`, whose logs stand beside the corpus until it is prepared."""
    try:
        from budgetbert.corpus.datatrove import DatatroveWorkers
    except ImportError as error:
        told = "--engine=datatrove needs datatrove, which is not installed: pip install 'budgetbert[datatrove]'."
        raise command_line.InputError(told) from error
    return DatatroveWorkers(number, f"{output_dir}.datatrove")


def main():
    given = flags.FLAGS
    if not given.output_dir:
        raise command_line.InputError("--output_dir is missing: say where the prepared corpus is to be.")
    if not given.corpus and not given.verify:
        raise command_line.InputError("--corpus is missing: give demo, or the path of your text.")
    if given.vocabulary and given.vocabulary_size:
        raise command_line.InputError("--vocabulary and --vocabulary_size exclude each other: give one of them.")

    from budgetbert.corpus import console, prepare, store

    if given.corpus:
        ours = {flag.name: flag.value for flag in given.get_key_flags_for_module(__name__)}
        options = {name: value for name, value in ours.items() if name not in _NOT_OPTIONS}
        if given.engine == "datatrove":
            options["workers"] = datatrove_workers(given.workers or os.cpu_count(), given.output_dir)
        corpus = prepare.prepare_corpus(given.corpus, given.output_dir, **options)
    if given.verify:
        corpus = store.verify(given.output_dir)
    console.print_summary(corpus)
    if given.verify:
        print("Every shard has the sha256 that the manifest states.")


if __name__ == "__main__":
    command_line.run(main)
