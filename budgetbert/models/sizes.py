"""Refuses model files that would take far more memory than they have bytes, before the memory is taken.

A zip archive, an HDF5 file and a configuration can each ask for terabytes in a few kilobytes. What we and Keras write
is stored as it is, so the bytes of a file bound what reading it may take.
"""

import contextlib
import io
import json
import os
import stat
import zipfile

import h5py

# What a file unpacks to, over its own size: room for one that somebody compressed.
_MOST_TIMES = 4
_SLACK_BYTES = 64 * 2**20
# Of a part that is read whole besides the weights: the largest vocabularies have 30 MB as JSON.
_MOST_TEXT_BYTES = 256 * 2**20
_WEIGHTS = "model.weights.h5"
# The files of a folder that Keras, `transformers` and we read whole.
_TEXTS = (
    *("config.json", "task.json", "tokenizer.json", "preprocessor.json", "metadata.json", "vocabulary.txt"),
    *("vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "export.json"),
    *("generation_config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"),
)
# The names of the sizes of a model in our configurations and in those of Hugging Face.
_NAMES = {
    "vocabulary": ("vocabulary_size", "vocab_size"),
    "width": ("hidden_dim", "hidden_size"),
    "layers": ("num_layers", "num_hidden_layers"),
    "inner": ("intermediate_dim", "intermediate_size"),
}
_SIZES = (
    *(name for names in _NAMES.values() for name in names),
    *("num_heads", "num_attention_heads", "num_segments", "type_vocab_size", "num_classes", "pooler_dim"),
    *("max_sequence_length", "max_position_embeddings", "sequence_length"),
)


class TooLarge(ValueError):
    """A file asks for more memory than its size allows. The message is a phrase that says what asks for it."""


def check_regular(path):
    """Raises an `OSError` if there is nothing at a path, or something that reading would wait for, as a pipe."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(0, "Is a directory" if os.path.isdir(path) else "it is no regular file")


def check_archive(archive, size):
    """Raises `TooLarge` where the parts of a `.keras` file would unpack to far more than it has bytes.

    Args:
        archive: `zipfile.ZipFile`, open for reading.
        size: int. Bytes of the file.
    """
    parts = archive.infolist()
    for part in parts:
        if part.filename != _WEIGHTS and part.file_size > _MOST_TEXT_BYTES:
            raise TooLarge(f"its {part.filename[:100]} unpacks to {part.file_size:,} bytes")
    if (total := sum(part.file_size for part in parts)) > _most(size):
        raise TooLarge(f"it has {size:,} bytes and unpacks to {total:,}")


def check_weights_in(archive):
    """Raises `TooLarge` where the weights in a `.keras` file, unpacked, ask for more than they have bytes.

    Anything else that is wrong with them is for whoever reads them.

    Args:
        archive: `zipfile.ZipFile`, open for reading, that `check_archive` let pass.
    """
    part = archive.getinfo(_WEIGHTS)
    stored = part.compress_type == zipfile.ZIP_STORED
    file = _Window(archive.fp, _begin(archive, part), part.file_size) if stored else io.BytesIO(archive.read(part))
    _check_hdf5(file, part.file_size, _WEIGHTS)


def check_folder(path):
    """Refuses a model's folder that asks for more memory than it has bytes, or in which a file is a pipe.

    Args:
        path: str. A folder of `save_to_preset` or of Hugging Face.

    Raises:
        TooLarge: where one of its files does.
        OSError: where one cannot be read.
    """
    weights = [name for name in os.listdir(path) if name.endswith((".h5", ".safetensors", ".bin"))]
    total = sum(os.path.getsize(os.path.join(path, name)) for name in weights)
    for folder in (path, os.path.join(path, "assets", "tokenizer")):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            file = os.path.join(folder, name)
            if name not in (*_TEXTS, *weights):
                continue
            check_regular(file)
            size = os.path.getsize(file)
            if name in _TEXTS and size > _MOST_TEXT_BYTES:
                raise TooLarge(f"its {name} has {size:,} bytes")
            if name.endswith(".h5"):
                _check_hdf5(file, size, name)
            if name in ("config.json", "task.json"):
                with open(file, "rb") as text, contextlib.suppress(UnicodeError, json.JSONDecodeError, RecursionError):
                    check_config(json.load(text), total)


def check_config(config, weights):
    """Raises `TooLarge` where a configuration describes a model of far more weights than there are bytes for them.

    Args:
        config: what JSON held.
        weights: int. Bytes of the file of weights.
    """
    todo = [[config]]
    while todo:
        node = todo.pop()
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(value, dict | list):
                todo.append(value)
            elif type(value) is int and name in _SIZES and value > _most(weights):
                raise TooLarge(f"its configuration has {name} {value:.3g}, and the weights {weights:,} bytes")
        if isinstance(node, dict) and (number := _weights_of(node)) > _most(weights):
            raise TooLarge(f"its configuration has {number:.3g} weights, for which there are {weights:,} bytes")


def _weights_of(config):
    """Returns the number of weights, at least, of the model that an object describes, 0 where it describes none."""
    found = {what: next((config[name] for name in names if name in config), 0) for what, names in _NAMES.items()}
    vocabulary, width, layers, inner = (max(0, value) if type(value) is int else 0 for value in found.values())
    classes = config.get("num_classes")
    classes = max(0, classes) if type(classes) is int else 0
    return width * (vocabulary + classes) + layers * (4 * width * width + width * inner)


def _most(size):
    return _MOST_TIMES * size + _SLACK_BYTES


def _check_hdf5(file, size, name):
    total = 0

    def add(_, item):
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise TooLarge(f"its {name} has values in another file")
            total += item.size * item.dtype.itemsize

    try:
        with h5py.File(file, "r") as opened:
            opened.visititems(add)
    except TooLarge:
        raise
    # HDF5 raises whatever the damaged part leads to.
    except Exception:
        return
    if total > _most(size):
        raise TooLarge(f"its {name} has {size:,} bytes and unpacks to {total:,}")


def _begin(archive, part):
    """Returns where the bytes of a stored part begin: behind its local header, a name and an extra field."""
    archive.fp.seek(part.header_offset + 26)
    lengths = archive.fp.read(4)
    return part.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


class _Window(io.RawIOBase):
    """A stretch of a file as a file of its own, without a copy in memory."""

    def __init__(self, file, begin, size):
        self._file, self._begin, self._size, self._place = file, begin, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def tell(self):
        return self._place

    def readinto(self, buffer):
        self._file.seek(self._begin + self._place)
        data = self._file.read(max(0, min(len(buffer), self._size - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
