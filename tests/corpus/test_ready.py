"""Token ids with their tokenizer, in the layouts that others write, become the rows of a prepared corpus."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from tokenizers import pre_tokenizers

from budgetbert.corpus import report, store
from budgetbert.corpus.console import print_summary
from budgetbert.corpus.prepare import check_sources, prepare_corpus
from budgetbert.corpus.sources import token_ids
from budgetbert.errors import InputError
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, standalone_tokenizer

pytestmark = pytest.mark.without_backend

WORDS = [f"word{index}" for index in range(90)]
# As of Cramming's code, the special tokens stand anywhere, and two more among them.
VOCABULARY = [*WORDS[:7], "[SEP]", "</s>", "[MASK]", "[PAD]", "<s>", "[UNK]", "[CLS]", *WORDS[7:]]
IDS = {token: VOCABULARY.index(token) for token in SPECIAL_TOKENS}
ROWS = np.random.default_rng(0).choice([VOCABULARY.index(word) for word in WORDS], (400, 32))


def write_tokenizer(path, kind="bert", names=str, splits=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer = standalone_tokenizer(VOCABULARY, Normalizer(kind=kind))
    tokenizer.pre_tokenizer = splits or tokenizer.pre_tokenizer
    path.write_text(names(tokenizer.to_str()))


def write_parquet(folder, samples, column="input_ids", name="train-00000-of-00001.parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({column: pa.array([list(map(int, row)) for row in samples], pa.list_(pa.int32()))})
    pa.parquet.write_table(table, folder / name)
    return folder


def write_mds(folder, samples, encoding="ndarray:uint16", compression=None, per_shard=150):
    """A folder as MosaicML's writer leaves it: columns id (str), input_ids, len (int)."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype = {"bytes": "int64", "uint32": "uint32"}.get(encoding, "uint16")
    shards = []
    for number, start in enumerate(range(0, len(samples), per_shard)):
        packed = []
        for index, row in enumerate(samples[start : start + per_shard]):
            values = np.asarray(row, dtype).tobytes()
            if encoding.startswith("ndarray"):
                shape = b"" if encoding.count(":") == 2 else bytes([1 << 2, len(row)])
                values = (b"" if ":" in encoding else bytes([16])) + shape + values
            name = f"sample {start + index}".encode()
            packed.append(struct.pack("<II", len(name), len(values)) + name + values + struct.pack("<q", len(row)))
        config = b'{"version": 2}'
        offsets = np.cumsum([0, *map(len, packed)]) + 4 * (len(packed) + 2) + len(config)
        data = struct.pack(f"<I{len(offsets)}I", len(packed), *offsets.tolist()) + config + b"".join(packed)
        raw = {"basename": f"shard.{number:05d}.mds", "bytes": len(data), "hashes": {}}
        zipped = None
        if compression:
            content = pa.Codec("zstd").compress(data, asbytes=True)
            zipped = {"basename": f"{raw['basename']}.zstd", "bytes": len(content)}
            zipped["hashes"] = {"sha1": hashlib.sha1(content).hexdigest(), "xxh64": "0123"}
            (folder / zipped["basename"]).write_bytes(content)
        else:
            (folder / raw["basename"]).write_bytes(data)
        shard = {"column_encodings": ["str", encoding, "int"], "column_names": ["id", "input_ids", "len"]}
        shard |= {"column_sizes": [None, None, 8], "compression": compression, "format": "mds", "version": 2}
        shards.append(shard | {"hashes": [], "raw_data": raw, "samples": len(packed), "zip_data": zipped})
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": shards}))
    return folder


def prepare(folder, output_dir, **options):
    return prepare_corpus(str(folder), output_dir, workers=1, **options)


def in_both(corpus):
    return [*map(tuple, corpus.rows("train")[:].tolist()), *map(tuple, corpus.rows("validation")[:].tolist())]


def save_to_disk(folder):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"input_ids": ROWS.tolist()}).save_to_disk(folder, num_shards=3)


def save_dictionary_to_disk(folder):
    datasets = pytest.importorskip("datasets")
    splits = {"train": datasets.Dataset.from_dict({"input_ids": ROWS.tolist()})}
    splits["test"] = datasets.Dataset.from_dict({"input_ids": ROWS[:10, ::-1].tolist()})
    datasets.DatasetDict(splits).save_to_disk(folder)


def write_hub(folder):
    write_parquet(folder / "data", ROWS[:250], name="train-00000-of-00002.parquet")
    write_parquet(folder / "data", ROWS[250:], name="train-00001-of-00002.parquet")
    write_parquet(folder / "data", ROWS[:10, ::-1], name="test-00000-of-00001.parquet")


LAYOUTS = {
    "save_to_disk": save_to_disk,
    "a dictionary of splits": save_dictionary_to_disk,
    "parquet, as on the hub": write_hub,
    "MDS": lambda folder: write_mds(folder, ROWS),
    "MDS, dtype in the samples": lambda folder: write_mds(folder, ROWS, "ndarray"),
    "MDS, shape in the index": lambda folder: write_mds(folder, ROWS, "ndarray:uint16:32"),
    "MDS of bytes": lambda folder: write_mds(folder, ROWS, "bytes"),
    "MDS of a dtype": lambda folder: write_mds(folder, ROWS, "uint32"),
    "MDS, zstd, in a folder of the split": lambda folder: write_mds(folder / "train", ROWS, compression="zstd:7"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_its_rows_in_their_order(layout, tmp_path):
    folder = tmp_path / "ready"
    LAYOUTS[layout](folder)
    write_tokenizer(folder / "tokenizer.json")
    corpus = prepare(folder, tmp_path / "corpus", order="stored", validation_fraction=0.1)
    assert sorted(in_both(corpus)) == sorted(map(tuple, ROWS.tolist()))
    place = {tuple(row): number for number, row in enumerate(ROWS.tolist())}
    for split in store.SPLITS:
        numbers = [place[tuple(row)] for row in corpus.rows(split)[:].tolist()]
        assert numbers == sorted(numbers)
    assert 15 <= len(corpus.rows("validation")) <= 70
    assert corpus.training_order.tolist() == list(range(len(corpus.rows("train"))))
    assert (corpus.vocabulary, corpus.special_ids) == (VOCABULARY, IDS)
    assert (corpus.rows_kind, corpus.sequence_length, corpus.manifest["row_start"]) == ("packed", 32, "none")
    assert store.verify(tmp_path / "corpus").fingerprint == corpus.fingerprint


def test_files_of_no_split_are_all_read_and_of_several_those_that_are_named(tmp_path):
    write_tokenizer(write_parquet(tmp_path / "plain", ROWS, name="rows.parquet") / "tokenizer.json")
    assert len(in_both(prepare(tmp_path / "plain", tmp_path / "all"))) == len(ROWS)
    write_hub(tmp_path / "hub")
    write_tokenizer(tmp_path / "hub" / "tokenizer.json")
    corpus = prepare(tmp_path / "hub", tmp_path / "test", split="test")
    assert sorted(in_both(corpus)) == sorted(map(tuple, ROWS[:10, ::-1].tolist()))


def test_the_same_rows_are_held_out_whatever_they_lie_in(tmp_path):
    write_tokenizer(write_mds(tmp_path / "mds", ROWS[::-1]) / "tokenizer.json")
    write_tokenizer(write_parquet(tmp_path / "parquet", ROWS) / "tokenizer.json")
    held_out = [
        set(map(tuple, prepare(tmp_path / name, tmp_path / f"{name}.corpus").rows("validation")[:].tolist()))
        for name in ("mds", "parquet")
    ]
    assert held_out[0] == held_out[1]


def test_documents_of_many_lengths_are_joined_and_cut(tmp_path):
    draw = np.random.default_rng(1)
    documents = [ROWS.ravel()[start : start + draw.integers(3, 60)] for start in range(0, 12_000, 60)]
    documents[3] = np.append(documents[3], IDS["[SEP]"])
    write_tokenizer(write_mds(tmp_path / "ready", documents, per_shard=37) / "tokenizer.json")
    corpus = prepare(tmp_path / "ready", tmp_path / "corpus", sequence_length=16, validation_fraction=0.2)
    whole = {tuple(document[document != IDS["[SEP]"]].tolist()) for document in documents}
    counts = corpus.manifest["counts"]
    for split in store.SPLITS:
        stream = corpus.rows(split)[:].ravel()
        ends = np.flatnonzero(stream == IDS["[SEP]"])
        found = [tuple(piece.tolist()) for piece in np.split(stream, ends + 1)[:-1]]
        assert {document[:-1] for document in found} <= whole
        # The rest of a row is dropped, in the last document or the last two.
        assert counts["documents"][split] - 2 <= len(found) <= counts["documents"][split]
    assert counts["documents"]["validation"] in range(20, 61)


def test_rows_with_padding_are_rows_of_sentences(tmp_path):
    rows = np.where(np.arange(32) < np.random.default_rng(2).integers(5, 33, 400)[:, None], ROWS, IDS["[PAD]"])
    rows[:, 0] = IDS["[CLS]"]
    rows[7] = IDS["[PAD]"]
    write_tokenizer(write_parquet(tmp_path / "ready", rows) / "tokenizer" / "tokenizer.json")
    corpus = prepare(tmp_path / "ready", tmp_path / "corpus")
    assert corpus.rows_kind == "sentences"
    assert sorted(in_both(corpus)) == sorted(map(tuple, np.delete(rows, 7, axis=0).tolist()))
    (source,) = corpus.manifest["sources"]
    assert (source["documents_read"], source["removed"]) == (400, {"empty": 1})
    assert sum(corpus.manifest["counts"]["tokens"].values()) == (rows != IDS["[PAD]"]).sum()


def test_a_short_last_row_is_left_out_and_counted(tmp_path):
    folder = write_parquet(tmp_path / "ready", [*ROWS, ROWS[0, :5]])
    write_tokenizer(folder / "tokenizer.json")
    corpus = prepare(folder, tmp_path / "corpus")
    assert sorted(in_both(corpus)) == sorted(map(tuple, ROWS.tolist()))
    assert corpus.manifest["sources"][0]["removed"] == {"short_row": 1}


def test_a_sorted_order_is_that_of_a_corpus_of_text(tmp_path):
    folder = write_parquet(tmp_path / "ready", ROWS)
    write_tokenizer(folder / "tokenizer.json")
    corpus = prepare(folder, tmp_path / "corpus", order="frequent_first")
    rows = corpus.rows("train")[:]
    counts = np.bincount(rows.ravel(), minlength=len(VOCABULARY))
    scores = np.log((counts + 1) / (counts.sum() + len(VOCABULARY)))[rows].mean(axis=1)
    assert (np.diff(scores[corpus.training_order[:]]) <= 1e-6).all()


def test_crammings_tokenizer_keeps_its_ids(tmp_path):
    def as_cramming(text):
        for token in SPECIAL_TOKENS:
            text = text.replace(token, f"<{token[1:-1].lower()}>")
        return text

    folder = write_parquet(tmp_path / "ready", ROWS)
    write_tokenizer(folder / "tokenizer.json", "cramming", as_cramming, pre_tokenizers.Whitespace())
    corpus = prepare(folder, tmp_path / "corpus", order="stored")
    assert corpus.vocabulary == VOCABULARY
    assert corpus.manifest["normalizer"] == {"lowercase": True, "strip_accents": True, "kind": "cramming"}
    assert "keeps a run of punctuation" in corpus.manifest["notes"][0]


def test_a_vocabulary_of_lines_is_read_with_the_normaliser_that_is_given(tmp_path):
    folder = write_parquet(tmp_path / "ready", ROWS + 5, column="tokens")
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *(f"w{index}" for index in range(110))]))
    corpus = prepare(folder, tmp_path / "corpus", lowercase=False)
    assert corpus.manifest["normalizer"] == {"lowercase": False, "strip_accents": True, "kind": "bert"}
    assert corpus.special_ids["[PAD]"] == 0


def test_the_summary_and_the_report_know_of_no_characters(tmp_path, capsys):
    folder = write_parquet(tmp_path / "ready", ROWS)
    write_tokenizer(folder / "tokenizer.json")
    corpus = prepare(folder, tmp_path / "corpus")
    page = Path(report.write_report(corpus.directory)).read_text(encoding="utf-8")
    assert "400" in page
    assert "Characters" not in page
    print_summary(corpus)
    summary = capsys.readouterr().out
    assert "398 for training, 2 held out" in summary
    assert "characters" not in summary
    again = prepare(folder, tmp_path / "corpus")
    assert again.fingerprint == corpus.fingerprint
    with pytest.raises(InputError, match="holds another corpus: order is shuffled there and stored here"):
        prepare(folder, tmp_path / "corpus", order="stored")


def test_text_in_a_column_stays_text(tmp_path):
    pa.parquet.write_table(pa.table({"text": ["one", "two"]}), tmp_path / "a.parquet")
    assert token_ids.find(str(tmp_path)) is None


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def damaged():
    """Yields what is wrong, a function that makes it so in a folder, the options, and a part of the sentence."""
    yield "no tokenizer", lambda folder: write_parquet(folder, ROWS), {}, "neither tokenizer.json nor vocab.txt"

    def made(write, *changes):
        def make(folder):
            write(folder)
            write_tokenizer(folder / "tokenizer.json")
            for change in changes:
                change(folder)

        return make

    def mds(folder):
        write_mds(folder, ROWS)

    def parquet(folder):
        write_parquet(folder, ROWS)

    def described(**values):
        def change(folder):
            index = json.loads((folder / "index.json").read_text())
            index["shards"][0] |= values
            (folder / "index.json").write_text(json.dumps(index))

        return change

    shard = "shard.00001.mds"
    yield "a text option", made(parquet), {"filter": "t=0.3"}, "--filter changes nothing any more"
    yield "another length", made(parquet), {"sequence_length": 64}, "have 32 ids: leave --sequence_length out"
    yield "ids beyond", made(lambda folder: write_parquet(folder, ROWS + 60)), {}, "and its vocabulary has 97 entries"
    yield "negative ids", made(lambda folder: write_parquet(folder, ROWS - 60)), {}, "holds the id -"
    yield "another column", made(parquet), {"text_field": "ids"}, "holds no text file|has no column 'ids'"
    yield "another split", made(write_hub), {"split": "tset"}, "has no files of the split 'tset'"
    yield "one row", made(lambda folder: write_parquet(folder, ROWS[:1])), {}, "holds 1 samples"
    yield "a cut parquet", made(mds, lambda f: (f / "index.json").write_text('{"mds"')), {}, "is not the index"
    yield "a cut shard", made(mds, lambda f: cut(f / shard, 5000)), {}, r"has 5,000 bytes, not \d+,\d+ as index.json"
    yield "no shard", made(mds, lambda f: (f / shard).unlink()), {}, f"{shard} is missing"
    yield (
        "a shard elsewhere",
        made(mds, described(raw_data={"basename": "../x", "bytes": 1, "hashes": {}})),
        {},
        "outside",
    )
    for damage in (
        {"column_encodings": ["str"]},
        {"column_sizes": [None, None, "eight"]},
        {"raw_data": {"basename": shard, "bytes": "many", "hashes": {}}},
        {"raw_data": {"basename": shard, "bytes": 1, "hashes": [1]}},
    ):
        yield f"an index with {damage}", made(mds, described(**damage)), {}, "is not the index of an MDS folder"
    raw = {"basename": shard, "bytes": 1, "hashes": {"shake_128": "00"}}
    yield "a sum of SHAKE", made(mds, described(raw_data=raw)), {}, "not 1 as index.json says"
    yield "another format", made(mds, described(format="json")), {}, "only MDS version 2"
    yield "another column", made(mds, described(column_encodings=["str", "jpeg", "int"])), {}, "is jpeg, not an array"
    yield "brotli", made(lambda f: write_mds(f, ROWS, compression="br:11")), {}, "compressed with br:11 are not read"
    wrong = described(samples=7)
    yield "another number", made(mds, wrong), {}, "damaged MDS shard .its offsets do not add up"

    def flipped(folder):
        path = folder / "shard.00000.mds.zstd"
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")

    yield "a flipped byte", made(lambda f: write_mds(f, ROWS, compression="zstd"), flipped), {}, "its sha1 is not that"
    yield (
        "no tokenizer.json",
        made(parquet, lambda f: (f / "tokenizer.json").write_text("{")),
        {},
        "no tokenizer.json",
    )

    def without_name(folder):
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{}")
        (folder / "state.json").write_text('{"_data_files": [{"filename": 7}]}')

    yield "a state without names", made(without_name), {}, "does not tell the files of a data set"

    def bpe(folder):
        from tokenizers import Tokenizer, models

        (folder / "tokenizer.json").write_text(Tokenizer(models.BPE()).to_str())

    yield "BPE", made(parquet, bpe), {}, r"model \(BPE\) is not BERT's WordPiece"


@pytest.mark.parametrize(("make", "options", "told"), [pytest.param(*case[1:], id=case[0]) for case in damaged()])
def test_what_cannot_be_taken_is_one_sentence(make, options, told, tmp_path):
    make(tmp_path / "ready")
    with pytest.raises(InputError, match=told) as raised:
        prepare(tmp_path / "ready", tmp_path / "corpus", **options)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "corpus").exists()


def test_a_damaged_parquet_file_behind_the_first_is_named(tmp_path):
    write_hub(tmp_path / "ready")
    write_tokenizer(tmp_path / "ready" / "tokenizer.json")
    cut(tmp_path / "ready" / "data" / "train-00001-of-00002.parquet", 900)
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet is damaged or no such file"):
        prepare(tmp_path / "ready", tmp_path / "corpus")


def test_a_training_recipe_names_the_way(tmp_path):
    folder = write_parquet(tmp_path / "ready", ROWS)
    with pytest.raises(InputError, match=r"make a corpus of them with recipes/prepare_corpus\.py --corpus"):
        check_sources(str(folder))
