"""Folders of token ids: data sets of Hugging Face as `save_to_disk` or the hub has them, and MosaicML's MDS."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from budgetbert import files
from budgetbert.corpus.sources.blocks import DamagedFile, shown_names
from budgetbert.corpus.sources.mds import INDEX, MdsFolder
from budgetbert.errors import InputError, one_line

# Cramming's data sets and ModernBERT's have the first, LLM Foundry's the second.
_COLUMNS = ("input_ids", "tokens")
_SPLIT = "train"  # By default, also where the files say nothing of splits.
_ROWS = 1024  # These are decoded at a time.
_TOKENIZERS = ("tokenizer.json", "tokenizer/tokenizer.json", "vocab.txt", "vocabulary.txt", "tokenizer/vocab.txt")


def find(corpus, text_field="text", split=_SPLIT):
    """Returns the source of token ids that a `--corpus` names, or `None` where it names something else.

    Args:
        corpus: str.
        text_field: str. The column of the ids, or `"text"` for `input_ids`, or else `tokens`.
        split: str. Which of the splits in the folder.

    Returns:
        `TokenIds`, or `None`.

    Raises:
        InputError: if it is such a folder, and damaged.
    """
    folder = Path(corpus)
    if not os.path.isdir(folder):  # `Path` raises where a name is too long.
        return None
    columns = _COLUMNS if text_field == "text" else (text_field,)
    for place in (folder, folder / split):
        if os.path.isfile(place / INDEX) and b'"mds"' in (place / INDEX).read_bytes():
            return TokenIds(corpus, [folder, place], MdsFolder(place, columns))
    if os.path.isfile(folder / "dataset_dict.json") and not os.path.isfile(folder / split / "state.json"):
        splits = shown_names(sorted(place.parent.name for place in folder.glob("*/state.json")))
        raise InputError(f"{corpus} has no split {split!r} but {splits}: name one of them by --split.")
    for place in (folder, folder / split):
        if os.path.isfile(place / "state.json") and os.path.isfile(place / "dataset_info.json"):
            return TokenIds(corpus, [folder, place], ArrowFiles(_saved(place), columns))
    every = sorted([*folder.rglob("*.parquet"), *folder.rglob("*.arrow")])
    of_split = _of_split(every, split)
    found = of_split or every
    if not found or not _may_hold_ids(found[0], columns):
        return None
    if not of_split and split != _SPLIT:
        raise InputError(f"{corpus} has no files of the split {split!r}: name one of them by --split, or leave it out.")
    return TokenIds(corpus, [folder], ArrowFiles(found, columns))


class TokenIds:
    """A folder of samples, each a row or a document of token ids.

    Args:
        name: str, as given at `--corpus`.
        folders: list of `Path`, where its tokenizer may lie.
        samples: `MdsFolder` or `ArrowFiles`.

    Attributes:
        root: `Path`.
        tokenizer: `Path` of a `tokenizer.json` or of a vocabulary, or `None`.
    """

    def __init__(self, name, folders, samples):
        self.name, self._samples, self.weight = name, samples, None
        self.root = folders[0]
        places = [folder / file for folder in folders for file in _TOKENIZERS]
        self.tokenizer = next((place for place in places if place.is_file()), None)

    def identity(self):
        """Returns a dict that is equal for equal samples: the files' number, size in bytes and common sha256."""
        digest, size = hashlib.sha256(self._samples.column.encode()), 0
        for file in self._samples.files:
            try:
                digest.update(files.sha256(file).encode())
                size += file.stat().st_size
            except OSError as error:
                raise InputError(f"{file} cannot be read: {error.strerror}.") from error
        total = {"files": len(self._samples.files), "bytes": size}
        return {"source": self.name, **total, "sha256": digest.hexdigest()}

    def told_files(self):
        """Returns what the manifest states of files that are read or not: nothing."""
        return {}

    def batches(self):
        """Yields the ids of some samples one after another (int64 array) and how many each has (int64 array)."""
        return self._samples.batches()


class ArrowFiles:
    """A column of lists of integers in files of Arrow's or parquet.

    Args:
        paths: list of `Path`, read in this order.
        columns: tuple of str, the names that the column may have; the first that is there is taken.

    Raises:
        InputError: if the first file is damaged, or has no such column.
    """

    def __init__(self, paths, columns):
        self.files = paths
        schema = _schema(paths[0])
        self.column = next((name for name in columns if name in schema.names), None)
        if self.column is None or not _is_list_of_integers(schema.field(self.column).type):
            named = f"no column {' or '.join(columns)}" if self.column is None else f"no ids in {self.column!r}"
            raise InputError(
                f"{paths[0]} has {named} but {shown_names(f'{field.name} ({field.type})' for field in schema)}: name "
                "the column with the token ids by --text_field."
            )

    def batches(self):
        """As `TokenIds.batches`."""
        for path in self.files:
            row = 0
            for column in _read(path, self.column):
                if column.null_count or column.flatten().null_count:
                    raise InputError(f"{path} has a row without ids behind row {row:,}: take such rows out.")
                row += len(column)
                ids, lengths = column.flatten(), column.value_lengths()
                yield ids.to_numpy(zero_copy_only=False).astype(np.int64), lengths.to_numpy().astype(np.int64)


def _read(path, name):
    """Yields the column of a file in stretches, each an array of lists."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            batches = pa.parquet.ParquetFile(path).iter_batches(_ROWS, columns=[name], use_threads=False)
        else:
            batches = _open_arrow(path)
        for batch in batches:
            if name not in batch.schema.names:
                raise InputError(f"{path} has no column {name!r}, which the files before have: take it out.")
            whole = batch.column(batch.schema.names.index(name))
            if not _is_list_of_integers(whole.type):
                raise InputError(f"{path}: the column {name!r} holds {whole.type}, not lists of integers: take it out.")
            for start in range(0, len(whole), _ROWS):
                some = whole.slice(start, _ROWS)
                some.validate(full=True)
                yield some.cast(pa.list_(some.type.value_type)) if pa.types.is_fixed_size_list(some.type) else some
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _schema(path):
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            return pa.parquet.read_schema(path)
        return _open_arrow(path).schema
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _open_arrow(path):
    """Returns the record batches of a file, with their schema: of a stream, as `datasets` writes it, or of a file."""
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(str(path)))


def _damaged(path, error):
    return DamagedFile(f"{path} is damaged or no such file ({one_line(error)}): copy or download it again.")


def _is_list_of_integers(kind):
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and pa.types.is_integer(kind.value_type)


def _may_hold_ids(path, columns):
    """Returns whether a file has one of the columns, and in it lists of integers; a damaged one does not."""
    try:
        schema = _schema(path)
    except DamagedFile:
        return False
    return any(name in schema.names and _is_list_of_integers(schema.field(name).type) for name in columns)


def _saved(folder):
    """Returns the files of a data set that `save_to_disk` wrote."""
    path = folder / "state.json"
    try:
        state = json.loads(path.read_bytes())
        found = [folder / file["filename"] for file in state["_data_files"]]
        if state.get("_indices_files"):
            raise InputError(f"{folder} is a selection of rows: call flatten_indices() and save it again.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise DamagedFile(f"{path} does not tell the files of a data set: copy or download it again.") from error
    if missing := [file for file in found if not file.is_file()]:
        raise InputError(f"{missing[0]} is missing, which {path} names: copy or download it again.")
    if not found:
        raise InputError(f"{folder} is an empty data set: give one that holds token ids.")
    return found


def _of_split(paths, split):
    """Returns those of the files (list of `Path`) that are of a split by their name or folder."""
    named = re.compile(rf"{re.escape(split)}(?:-\d.*)?")
    return [path for path in paths if named.fullmatch(path.stem) or path.parent.name == split]
