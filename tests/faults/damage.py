"""Seeded damage: to bytes, to what JSON holds, to a folder."""

import json
import shutil

# Of another kind, too large, empty, or a path that leads out.
VALUES = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**30, 1e308, 0.5, -0.5, float("nan"), float("inf"), "", "x"),
    *("../../etc/passwd", "/etc/passwd", "train-00000.npy", "é\u202e", "x" * 5000, [], {}, [1], {"a": 1}, [[]]),
    *("uint8", "int64", "object", "<U10", "float32", ">u2"),
)
WHOLE = (
    *(b"", b"null", b"[]", b"5", b'"x"', b"{}", b"[{}]", b"true", b"NaN", b"1e999", b"[" * 100_000, b"\xff\xfe", b"{"),
    *(
        b'{"format_version":1}',
        b'{"recipe":5}',
        b'{"recipe":{}}',
        b'{"sha256":{}}',
        b'{"registered_name":3}',
        b"\0" * 99,
    ),
)


def damaged_bytes(data, draw):
    """Returns a name of the damage and the damaged bytes; `draw` is a `random.Random`."""
    kind = draw.choice(("flip", "flip", "three flips", "cut", "zeros", "noise", "insert", "delete", "repeat", "empty"))
    place, size = draw.randrange(max(1, len(data))), draw.choice((1, 16, 300, 4096))
    before, after = data[:place], data[place:]
    if kind in ("flip", "three flips") and data:
        changed = bytearray(data)
        for _ in range(3 if kind == "three flips" else 1):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        return kind, bytes(changed)
    return kind, {
        "cut": before,
        "zeros": before + bytes(min(size, len(after))) + after[size:],
        "noise": before + draw.randbytes(min(size, len(after))) + after[size:],
        "insert": before + draw.randbytes(size) + after,
        "delete": before + after[size:],
        "repeat": before + after[:size] + after,
    }.get(kind, b"")


def damage_bytes(path, draw):
    """Damages the bytes of a file; returns what was done."""
    kind, data = damaged_bytes(path.read_bytes(), draw)
    path.write_bytes(data)
    return f"{path.name} {kind}"


def damage_value(value, draw):
    """Puts something else in one or two places of what JSON holds, or nothing; returns what was done."""
    done = []
    for _ in range(draw.choice((1, 1, 1, 2))):
        found = list(places(value))
        if not found:
            break
        node, key = draw.choice(found)
        if draw.random() < 0.25:
            del node[key]
            done.append(f"without {key}")
        else:
            node[key] = draw.choice(VALUES)
            done.append(f"{key}={str(node[key])[:20]!r}")
    return " ".join(done)


def places(node):
    for key in list(node) if isinstance(node, dict) else range(min(len(node), 5)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


def damage_json(path, draw, change=lambda value: None):
    """Damages a JSON file, so that it is still JSON, or puts another in its place; returns what was done.

    Args:
        path: `Path`.
        draw: `random.Random`.
        change: function of the value that is called before it is written, as to leave out its checksum.
    """
    if draw.random() < 0.15:
        whole = draw.choice(WHOLE)
        path.write_bytes(whole)
        return f"{path.name} is {whole[:20]!r}"
    value = json.loads(path.read_text(encoding="utf-8"))
    done = damage_value(value, draw)
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")
    return f"{path.name} {done}"


def damage_folder(folder, draw):
    """Deletes a file of a folder, swaps two, or puts a folder, a loop of links or nothing in place of one."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path, kind = draw.choice(paths), draw.choice(("deleted", "swapped", "folder", "link to itself", "link to nothing"))
    if kind == "swapped":
        other = draw.choice(paths)
        ours, theirs = path.read_bytes(), other.read_bytes()
        path.write_bytes(theirs)
        other.write_bytes(ours)
        return f"{path.name} swapped with {other.name}"
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "link to nothing":
        path.symlink_to(folder / "nothing")
    return f"{path.name} {kind}"


def copy(source, target):
    """Copies a file or a folder to where another copy may stand."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
