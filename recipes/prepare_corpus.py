"""Raw text becomes a prepared corpus: a WordPiece vocabulary and rows of 128 tokens, for every training recipe.

Hardware  any CPU; memory about 450 MB per process, however large the text
Time      75 MB of novels 15 s on 2 cores, the demo text 4 s        Expected  17 million tokens in 132,476 rows
Killed?   The same command goes on where it was, and gives the same bytes.
Run       python recipes/prepare_corpus.py --corpus PATH --output_dir DIR
Source    packed rows: Geiping & Goldstein 2022; vocabulary: Devlin et al. 2019
"""

from absl import flags

from budgetbert import command_line
from budgetbert.corpus import options
from budgetbert.corpus.sources import formats
from budgetbert.corpus.stages.pool import available_cores
from budgetbert.errors import InputError

flags.DEFINE_string(
    "corpus",
    None,
    f"demo; files, folders or patterns: {formats.USABLE}; or hf:NAME[:CONFIG]. Several with commas, perhaps with "
    "shares: A@0.7,B@0.3. Or a folder of token ids with their tokenizer (Hugging Face's, MosaicML's MDS).",
)
flags.DEFINE_string("output_dir", None, "Where the prepared corpus appears.")
options.define_flags()
flags.DEFINE_integer("workers", None, "Processes; by default one per CPU core.", 1, 1024)
flags.DEFINE_enum("engine", "processes", ["processes", "datatrove"], "What starts them; the shards are the same.")
flags.DEFINE_bool("verify", False, "Check the sha256 of every shard; without --corpus, of an existing corpus.")


def datatrove_workers(number, output_dir):
    """Returns workers of `datatrove`, whose logs stand beside the corpus until it is prepared."""
    try:
        from budgetbert.corpus.stages.datatrove import DatatroveWorkers
    except ImportError as error:
        raise InputError(
            "--engine=datatrove needs datatrove, which is not installed: pip install 'budgetbert[datatrove]'."
        ) from error
    return DatatroveWorkers(number or available_cores(), f"{output_dir}.datatrove")


def main():
    given = flags.FLAGS
    if not given.output_dir:
        raise InputError("--output_dir is missing: say where the prepared corpus is to be.")
    if not given.corpus and not given.verify:
        raise InputError("--corpus is missing: give demo, or the path of your text.")
    command_line.check_output_dir(given.output_dir)

    from budgetbert.corpus import console, prepare, store

    if given.corpus:
        workers = given.workers
        if given.engine == "datatrove":
            workers = datatrove_workers(workers, given.output_dir)
        corpus = prepare.prepare_corpus(given.corpus, given.output_dir, workers=workers, **options.read_flags())
    if given.verify:
        corpus = store.verify(given.output_dir)
    console.print_summary(corpus)
    if given.verify:
        print("Every shard has the sha256 that the manifest states.")


if __name__ == "__main__":
    command_line.run(main)
