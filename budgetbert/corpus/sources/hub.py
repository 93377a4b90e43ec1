"""Data sets of the Hugging Face hub, and local folders, read as streams through `datasets`."""

import collections
import hashlib
import os
from pathlib import Path

from budgetbert import files
from budgetbert.corpus.sources.blocks import column_number, grouped, is_of_wiki
from budgetbert.errors import InputError, one_line


class Unreachable(InputError):
    """The hub does not answer, or fails; what was read stays, and the same command goes on."""


class HubSource:
    """A data set, streamed: nothing is kept on disk.

    Args:
        name: str. `hf:NAME` or `hf:NAME:CONFIG`, such as `hf:wikimedia/wikipedia:20231101.en`. NAME may also be the
            path of a folder that `datasets` can load.
        text_field: str. The column that holds the text.
        split: str.

    Raises:
        InputError: if there is no such data set, or `Unreachable` if the hub does not answer.
    """

    # The hub does not say how large a split is.
    total_bytes = 0
    expected_bytes = 2**30
    bytes_read = 0

    def __init__(self, name, text_field, split):
        self.name = name
        self._path, _, self._config = name.removeprefix("hf:").partition(":")
        if not self._path:
            raise InputError(f"{name} names no data set: write hf:NAME or hf:NAME:CONFIG.")
        self._text_field, self._split = text_field, split
        self.root = Path(self._path) if os.path.isdir(self._path) else None
        self._revision = None if self.root else revision_of(self.name, self._path)

    def identity(self):
        """Returns a dict that is equal for equal text."""
        version = self._revision or _folder_version(self._path)
        parts = (os.path.basename(self._path), self._config, self._split, self._text_field, version)
        return {"source": self.name, "sha256": hashlib.sha256("\n".join(parts).encode()).hexdigest()}

    def told_files(self):
        """Returns what the manifest states of files: nothing."""
        return {}

    def blocks(self, block_bytes, position=None):
        """Yields (`Block`, position behind it); see `text.FileSource.blocks`.

        Raises:
            InputError: if the data set has no such configuration, split or column of text, or `Unreachable` for
                whatever else keeps it from being read.
        """
        try:
            rows = self._open()
            if position is not None:
                rows.load_state_dict(position)
            texts = ((text, len(text)) for text in map(self._text, rows))
            for block in grouped("documents", self.name, texts, block_bytes, collections.Counter()):
                block.is_wiki = is_of_wiki(data_set=self._path)
                if block.data:  # Behind the last text there is none.
                    yield block, rows.state_dict()
        except InputError:
            raise
        except Exception as error:
            # `datasets` rests on a dozen libraries, each with errors of its own.
            raise self._failure(error) from error

    def _text(self, row):
        text = row[self._text_field]
        if not isinstance(text, str | None):
            raise InputError(
                f"{self.name}: the column {self._text_field!r} holds a value of type {type(text).__name__}, not text: "
                "name another one with --text_field."
            )
        return text or ""

    def _failure(self, error):
        """Returns the `InputError` for what keeps the data set from being read; of the hub it may be gone later."""
        if self.root:
            return InputError(f"{self.name} cannot be read ({one_line(error)}): check the files in it.")
        return Unreachable(f"{self.name} cannot be read ({one_line(error)}): the same command goes on from here.")

    def _open(self):
        rows = open_rows(self.name, self._split, self._revision)
        column_number(self.name, rows.features or next(iter(rows.take(1)), {}), self._text_field)
        return rows.select_columns([self._text_field])


def open_rows(name, split, revision):
    """Opens a data set as a stream.

    Args:
        name: str. As of `HubSource`.
        split: str.
        revision: str, the commit of a data set on the hub, see `revision_of`; `None` of a folder.

    Returns:
        `datasets.IterableDataset`.

    Raises:
        InputError: if there is no such configuration or split.
    """
    import datasets

    path, _, config = name.removeprefix("hf:").partition(":")
    try:
        return datasets.load_dataset(path, config or None, split=split, streaming=True, revision=revision)
    except Exception as error:
        # A name, a configuration or a split that does not exist. What a broken network raises is an `OSError` or an
        # error of `httpx`; an answer of the hub that says no is both `OSError` and `ValueError`.
        is_value_error = isinstance(error, ValueError) and not isinstance(error, OSError)
        if not (os.path.isdir(path) or is_value_error or isinstance(error, datasets.exceptions.DatasetsError)):
            raise
        raise InputError(f"{name} cannot be opened: {one_line(error)}.") from error


def revision_of(name, path):
    """The commit of a data set on the hub. Asked for first, and once: `datasets` tries for half a minute."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return huggingface_hub.HfApi().dataset_info(path, timeout=10).sha
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise InputError(f"{name}: the hub has no such data set, or only for those who are logged in.") from error
    except Exception as error:
        # Which library reports a broken network varies.
        raise Unreachable(
            f"{name}: the Hugging Face hub cannot be reached ({one_line(error)}): check the connection, or give the "
            "path of downloaded files."
        ) from error


def _folder_version(folder):
    """What changes when a file in the folder does."""
    digest = hashlib.sha256()
    for directory, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            if os.path.isfile(path):  # A pipe would be waited for.
                digest.update(f"{os.path.relpath(path, folder)} {files.sha256(path)}\n".encode())
    return digest.hexdigest()
