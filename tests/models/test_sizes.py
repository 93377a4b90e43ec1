"""Model files that unpack to more than they may are refused before the memory is taken."""

import json
import os
import resource
import shutil
import threading
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.models.loading import load_any

from .examples import masked_lm

pytestmark = pytest.mark.without_backend
BOMB_BYTES = 2**29
MOST_TAKEN = 2**28


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A saved model as a file and as a preset's folder."""
    folder, model = tmp_path_factory.mktemp("model"), masked_lm("tiny_crammed")
    model.save(folder / "model.keras")
    model.save_to_preset(str(folder / "preset"))
    load_any(str(folder / "model.keras"))
    load_any(str(folder / "preset"))
    return folder


def peak_memory(reset=False):
    """Returns the peak of this process's memory in bytes: since the last reset where Linux can, else of all time."""
    if not os.path.exists("/proc/self/clear_refs"):
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def test_the_peak_of_memory_is_found_again_after_a_higher_one():
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("only Linux sets the peak back")
    for _ in range(2):
        before = peak_memory(reset=True)
        taken = np.ones(BOMB_BYTES, np.uint8)
        assert peak_memory() - before > MOST_TAKEN
        del taken


@pytest.fixture
def refused():
    """A function that returns the sentence with which a path is refused, with no more memory than there may be."""

    def load(path):
        before = peak_memory(reset=True)
        with pytest.raises(InputError) as ended:
            load_any(str(path))
        assert peak_memory() - before < MOST_TAKEN
        assert "\n" not in str(ended.value)
        return str(ended.value)

    return load


def written_again(trained, path, compression=zipfile.ZIP_STORED, **parts):
    """A copy of the `.keras` file in which functions of an open part write some of the parts, by their first names."""
    with zipfile.ZipFile(trained / "model.keras") as before, zipfile.ZipFile(path, "w", compression) as after:
        for name in before.namelist():
            with after.open(name, "w") as part:
                write = parts.get(name.split(".")[0], lambda part, content: part.write(content))
                write(part, before.read(name))
    return path


def bomb(part, content):
    for _ in range(BOMB_BYTES // 2**20):
        part.write(b" " * 2**20)
    part.write(content)


@pytest.mark.parametrize("name", ["config", "metadata", "model"])
def test_a_part_of_the_archive_that_unpacks_to_gigabytes(name, trained, refused, tmp_path):
    path = written_again(trained, tmp_path / "bomb.keras", zipfile.ZIP_DEFLATED, **{name: bomb})
    assert path.stat().st_size < 2**23
    assert "unpacks to" in refused(path)


def hdf5_bomb(path):
    """A valid HDF5 file of a few kilobytes whose one array has 2 GB."""
    with h5py.File(path, "w") as file:
        file.create_dataset("a", shape=(BOMB_BYTES,), dtype="float32", chunks=(2**20,), compression="gzip")
    return path.read_bytes()


def test_weights_that_unpack_to_gigabytes(trained, refused, tmp_path):
    content = hdf5_bomb(tmp_path / "bomb.h5")
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = written_again(trained, tmp_path / "bomb.keras", compression, model=lambda part, _: part.write(content))
        assert "its model.weights.h5 has" in refused(path)
    shutil.copytree(trained / "preset", tmp_path / "preset")
    (tmp_path / "preset" / "model.weights.h5").write_bytes(content)
    assert "its model.weights.h5 has" in refused(tmp_path / "preset")


def test_weights_that_stand_in_another_file(trained, refused, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.zeros(3)
    layout = h5py.VirtualLayout(shape=(3,), dtype="float64")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "a", shape=(3,))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    content = (tmp_path / "virtual.h5").read_bytes()
    path = written_again(trained, tmp_path / "virtual.keras", model=lambda part, _: part.write(content))
    assert "has values in another file" in refused(path)


@pytest.mark.parametrize(
    "sizes",
    [{"vocabulary_size": 10**11}, {"vocabulary_size": 10**8, "hidden_dim": 10**5}, {"num_layers": 10**6}],
    ids=str,
)
def test_a_configuration_of_a_model_that_is_larger_than_its_weights(sizes, trained, refused, tmp_path):
    def enlarge(part, content):
        config = json.loads(content)
        config["config"]["backbone"]["config"].update(sizes)
        part.write(json.dumps(config).encode())

    assert "its configuration has" in refused(written_again(trained, tmp_path / "large.keras", config=enlarge))
    shutil.copytree(trained / "preset", tmp_path / "preset")
    for name in ("config.json", "task.json"):
        path = tmp_path / "preset" / name
        config = json.loads(path.read_text())
        (config["config"]["backbone"] if name == "task.json" else config)["config"].update(sizes)
        path.write_text(json.dumps(config))
    assert "its configuration has" in refused(tmp_path / "preset")


@pytest.mark.parametrize("content", [b"[" * 10**6, b'{"a":' * 10**6], ids=["lists", "objects"])
def test_json_of_many_levels(content, trained, refused, tmp_path):
    refused(written_again(trained, tmp_path / "deep.keras", config=lambda part, _: part.write(content)))
    shutil.copytree(trained / "preset", tmp_path / "preset")
    for name in ("task.json", "tokenizer.json", "config.json"):
        (tmp_path / "preset" / name).write_bytes(content)
        refused(tmp_path / "preset")


def test_a_sparse_file_of_a_terabyte(trained, refused, tmp_path):
    shutil.copytree(trained / "preset", tmp_path / "preset")
    os.truncate(tmp_path / "preset" / "tokenizer.json", 2**40)
    assert "its tokenizer.json has 1,099,511,627,776 bytes" in refused(tmp_path / "preset")


def test_a_pipe_in_place_of_a_model_is_not_waited_for(trained, refused, tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    shutil.copytree(trained / "preset", tmp_path / "preset")
    (tmp_path / "preset" / "task.json").unlink()
    os.mkfifo(tmp_path / "preset" / "task.json")
    done = threading.Event()
    for path in (tmp_path / "pipe.keras", tmp_path / "preset"):
        threading.Thread(target=lambda path=path: (refused(path), done.set()), daemon=True).start()
        assert done.wait(30)
        done.clear()


def test_an_encrypted_part(trained, refused, tmp_path):
    path = written_again(trained, tmp_path / "encrypted.keras")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refused(path)
