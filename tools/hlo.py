"""Kernels of a program that XLA compiled for a GPU, from its text: what each reads, writes and computes."""

import collections
import dataclasses
import math
import re

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8}
_ARRAY = re.compile(rf"\b({'|'.join(_BYTES)})\[([\d,]*)\]")
_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$")
# These move nothing, and the ends of asynchronous copies are counted at their begins.
_FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "copy-done", "async-done"}
_FREE |= {"partition-id", "replica-id", "opt-barrier"}
_MOVES = {"broadcast", "reshape", "transpose", "slice", "copy", "iota", "concatenate", "pad", "convert", "gather"}
# A rotation of bits is two shifts and an `or` in XLA and one instruction on a GPU, so shifts do not count.
_MOVES |= {"shift-left", "shift-right-logical", "dynamic-slice", "dynamic-update-slice", "reduce", "dot", "fusion"}
_SPECIAL = {"exponential", "log", "tanh", "erf", "rsqrt", "sqrt", "divide", "power", "logistic", "cosine", "sine"}
# Attention has two products of [length, length] per head forward and five backward, one of them computed anew.
_ATTENTION_PRODUCTS = {"__cudnn$fmhaSoftmax": 2, "__cudnn$fmhaSoftmaxBackward": 5}
_ATTENTION_PRODUCTS |= {"attention_forward": 2, "attention_gradient": 5}
# Of each random number of budgetbert.layers.hashed_bits.
_HASH_OPERATIONS = 10


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Args:
        shape: str. As XLA writes it, `f32[8,128]{1,0}`; of a tuple in parentheses.
        opcode: str.
        operands: list of str. Names of instructions of the same computation.
        attributes: str. What follows the operands.
        is_root: bool. Whether it is the result of its computation.
    """

    shape: str
    opcode: str
    operands: list
    attributes: str
    is_root: bool

    def attribute(self, pattern):
        """Returns what the group of a pattern finds in the attributes, `""` if there is nothing."""
        found = re.search(pattern, self.attributes)
        return found[1] if found else ""

    @property
    def called(self):
        """The names of the computations that it calls."""
        names = r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.-]+)"
        listed = re.findall(r"%?([\w.-]+)", self.attribute(r"branch_computations=\{([^}]*)\}"))
        return re.findall(names, self.attributes) + listed


@dataclasses.dataclass
class Kernel:
    """One launch.

    Args:
        kind: str. The target of a custom call, `"fusion"`, or the opcode.
        scope: str. The layers it was made in, as JAX writes them.
        bytes: int. What it reads and writes.
        flops: int. Of matrix products.
        integers, specials: int. Integer operations, of random bits, and operations of the special function units.
    """

    kind: str
    scope: str
    bytes: int
    flops: int = 0
    integers: int = 0
    specials: int = 0


def parse(text):
    """Returns the computations of a program as dicts of `Instruction` by name, and the name of the first to run."""
    computations, name, entry = {}, None, None
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name = match[2]
            computations[name], entry = {}, name if match[1] else entry
        elif match := _INSTRUCTION.match(line):
            operands, _, attributes = match[5].partition(")")
            operands = re.findall(r"%([\w.-]+)", operands)
            computations[name][match[2]] = Instruction(match[3], match[4], operands, attributes, bool(match[1]))
    return computations, entry


def kernels(text):
    """Returns two lists of `Kernel`: those that run once, and those of one turn of the loop, which is a micro-batch.

    Of a condition the branch that moves more is counted.
    """
    computations, entry = parse(text)
    once, in_loop = [], []
    _collect(computations, entry, once, in_loop)
    return once, in_loop


def product_types(text):
    """Returns how often products of which types are computed, as a dict: `{"bf16 x bf16": 27}`."""
    computations, _ = parse(text)
    found = collections.Counter()
    for computation in computations.values():
        for instruction in computation.values():
            target = instruction.attribute(r'custom_call_target="([^"]+)"')
            if instruction.opcode == "dot" or target.startswith("__cublas"):
                found[" x ".join(_ARRAY.search(computation[name].shape)[1] for name in instruction.operands[:2])] += 1
    return dict(found)


def largest_result(text, kind):
    """Returns the elements (int) of the largest array of a type (str, as `"f32"`) that a kernel writes to memory."""
    computations, _ = parse(text)
    fused = {name for c in computations.values() for i in c.values() if i.opcode == "fusion" for name in i.called}
    return max(
        math.prod(int(size) for size in sizes.split(",") if size)
        for name, computation in computations.items()
        if name not in fused
        for instruction in computation.values()
        if instruction.opcode not in _FREE | {"while"}
        for found, sizes in _ARRAY.findall(instruction.shape)
        if found == kind
    )


def _collect(computations, name, here, in_loop):
    computation = computations[name]
    for instruction in computation.values():
        if instruction.opcode == "while":
            body = re.search(r"body=%?([\w.-]+)", instruction.attributes)[1]
            _collect(computations, body, in_loop, in_loop)
        elif instruction.opcode == "conditional":
            branches = [[] for _ in instruction.called]
            for branch, called in zip(branches, instruction.called, strict=True):
                _collect(computations, called, branch, in_loop)
            here += max(branches, key=lambda branch: sum(kernel.bytes for kernel in branch))
        elif instruction.opcode == "call":
            _collect(computations, instruction.called[0], here, in_loop)
        elif instruction.opcode == "fusion":
            here.append(_fusion(instruction, computations))
        elif instruction.opcode not in _FREE:
            here.append(_single(instruction, computation))


def _fusion(instruction, computations):
    inside = computations[instruction.called[0]]
    scoped = (instruction, *inside.values())
    kernel = Kernel("fusion", next(filter(None, map(_scope, scoped)), ""), _read(inside) + _written(inside))
    for each in inside.values():
        elements = _elements(each.shape)
        if each.opcode == "dot":
            kernel.flops += _product_flops(each, inside)
        elif each.opcode in _FREE | _MOVES:
            continue
        elif each.shape.startswith(("u32", "s32", "u64", "s64")):
            kernel.integers += elements
        elif each.opcode in _SPECIAL:
            kernel.specials += elements
    return kernel


def _single(instruction, computation):
    read = sum(_bytes(computation[name].shape) for name in instruction.operands)
    # A custom call's results of bytes are its workspace.
    written = re.sub(r"\b[su]8\[", "[", instruction.shape) if instruction.opcode == "custom-call" else instruction.shape
    kind = instruction.attribute(r'custom_call_target="([^"]+)"') or instruction.opcode
    ours = re.search(r"/(attention_[a-z]+?)(_dropout)?/pallas_call", _scope(instruction))
    kernel = Kernel(ours[1] if ours else kind, _scope(instruction), read + _bytes(written))
    if ours:
        shapes = (_dimensions(computation[name].shape) for name in instruction.operands)
        rows, length, _, heads, width = next(shape for shape in shapes if len(shape) == 5)
        scores = rows * heads * length**2
        kernel.flops, kernel.specials = 2 * _ATTENTION_PRODUCTS[ours[1]] * scores * width, scores
        kernel.integers = _HASH_OPERATIONS * scores if ours[2] else 0
    elif kind in _ATTENTION_PRODUCTS:
        shape = computation[instruction.operands[0]].shape
        kernel.flops = 2 * _ATTENTION_PRODUCTS[kind] * _elements(shape) * _dimensions(shape)[1]
    elif kind.startswith("__cublas") or kind == "dot":
        kernel.flops = _product_flops(instruction, computation)
    return kernel


def _product_flops(instruction, computation):
    contracted = instruction.attribute(r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([^}\]]*)[}\]]')
    left = _dimensions(computation[instruction.operands[0]].shape)
    return 2 * _elements(instruction.shape) * math.prod(left[int(i)] for i in re.findall(r"\d+", contracted))


def _read(inside):
    """The bytes that a fusion reads: of an array from which it only takes slices, those of the slices."""
    users = collections.defaultdict(list)
    for name, instruction in inside.items():
        for place, operand in enumerate(instruction.operands):
            users[operand].append((name, place))

    def uses(name):
        for user, place in users[name]:
            if inside[user].opcode == "bitcast":
                yield from uses(user)
            else:
                yield inside[user], place

    total = 0
    for name, parameter in inside.items():
        if parameter.opcode != "parameter":
            continue
        size, used = _bytes(parameter.shape), list(uses(name))
        if used and all(place == 0 for _, place in used):
            if all(user.opcode in ("slice", "dynamic-slice", "gather") for user, _ in used):
                size = min(size, sum(_bytes(user.shape) for user, _ in used))
            elif all(user.opcode in ("dynamic-update-slice", "scatter") for user, _ in used):
                size = 0
        total += size
    return total


def _written(inside):
    """The bytes that a fusion writes: of an array in which it changes a part, those of the part."""
    root = next(instruction for instruction in inside.values() if instruction.is_root)
    total = 0
    for result in [inside[name] for name in root.operands] if root.opcode == "tuple" else [root]:
        changed = result
        while changed.opcode == "bitcast":
            changed = inside[changed.operands[0]]
        if changed.opcode == "dynamic-update-slice":
            total += _bytes(inside[changed.operands[1]].shape)
        elif changed.opcode == "scatter":
            # Each row that is added is read and written.
            total += 2 * _bytes(inside[changed.operands[-1]].shape)
        else:
            total += _bytes(result.shape)
    return total


def _scope(instruction):
    return instruction.attribute(r'op_name="([^"]*)"')


def _dimensions(shape):
    """The dimensions of an array, of a tuple those of its first."""
    found = _ARRAY.search(shape)
    return [int(size) for size in found[2].split(",") if size] if found else [0]


def _elements(shape):
    return math.prod(_dimensions(shape))


def _bytes(shape):
    arrays = _ARRAY.findall(shape)
    return sum(_BYTES[kind] * math.prod(int(size) for size in sizes.split(",") if size) for kind, sizes in arrays)
