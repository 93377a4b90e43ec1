"""What a training step becomes on a GPU, without one: kernels, bytes, memory and a predicted time, on JAX.

XLA compiles for a GPU that is only described to it, so that any machine can compare two versions of a step: which
attention is called, what is fused, how many bytes a micro-batch moves. Bytes are those that kernels read and write,
counted from the compiled program. Two times are computed: the roofline, the slowest of bytes, matrix products, integer
operations and special functions for each kernel, which no real run reaches; and the time to be expected, with kernels
at the parts of these rates that such kernels are known to reach (`REACHED`). Nothing is tuned, because that needs the
GPU: products are cuBLAS's.

Needs     pip install "budgetbert[gpu-program]"; no driver and no CUDA library
Run       python tools/gpu_program.py --preset crammed_base --rows 256 --layers 2
"""

import collections
import dataclasses
import os
import pathlib
import re
import sys

import harness
import hlo
from absl import app, flags

harness.define_flags(preset="crammed_base", rows=256, backends=("jax",))
flags.DEFINE_integer("length", 128, "Tokens per row.", 1)
flags.DEFINE_integer("layers", None, "Layers of the encoder. Defaults to the preset's.", 1)
flags.DEFINE_boolean("padding", False, "Whether rows come with a mask of padding, as documents of their own do.")
flags.DEFINE_list("without", [], "What is left off, of budgetbert.layers.gpu.LEVERS.")
flags.DEFINE_string("program", None, "File for the text of the compiled program of the micro-batches.")
flags.DEFINE_enum("card", "h200", ["h200", "h100", "rtx3080"], "Which GPU.")
FLAGS = flags.FLAGS

LAUNCH_SECONDS = 2e-6
# The loop over micro-batches must stay a loop, and one of one turn would be unrolled.
MICRO_BATCHES = 2


@dataclasses.dataclass(frozen=True)
class Card:
    """A GPU by its data sheet, and the rates that large products and copies reach of it.

    Args:
        name: str.
        capability: tuple of int. Compute capability.
        cores: int. Multiprocessors.
        gigahertz: float.
        memory, bandwidth, cache: float. Bytes, bytes per second, bytes of the second-level cache.
        shared: int. Bytes of shared memory of a multiprocessor.
        threads: int. Of a multiprocessor.
        flops_per_second, bytes_per_second: float. Rates of matrix products in bfloat16, and of memory.
    """

    name: str
    capability: tuple
    cores: int
    gigahertz: float
    memory: float
    bandwidth: float
    cache: float
    shared: int
    threads: int
    flops_per_second: float
    bytes_per_second: float

    @property
    def integers_per_second(self):
        """float. A multiprocessor has 64 lanes for integers (NVIDIA's white papers of Ampere and Hopper)."""
        return 64 * self.cores * 1e9 * self.gigahertz

    @property
    def specials_per_second(self):
        """float. And 16 lanes for special functions."""
        return 16 * self.cores * 1e9 * self.gigahertz

    @property
    def target(self):
        """str. The description that XLA reads."""
        major, minor = self.capability
        return f"""
gpu_device_info {{
  name: "{self.name}" model_str: "{self.name}" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: {major} minor: {minor} }} platform_version: "Compute Capability {major}.{minor}"
  core_count: {self.cores} fpus_per_core: 128 clock_rate_ghz: {self.gigahertz}
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: {self.threads}
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_core: {self.shared}
  shared_memory_per_block_optin: {self.shared - 1024}
  memory_bandwidth: {self.bandwidth:.0f} device_memory_size: {self.memory:.0f} l2_cache_size: {self.cache:.0f}
  pcie_bandwidth: 34359738368 device_address_bits: 64 ecc_enabled: true
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{self.name}"
"""


# Rates are 80 % of the dense products with float32 sums and 83 % of the memory of NVIDIA's data sheets. The last is a
# card of 12 GB, as those of 24hBERT, and the least that has bfloat16.
CARDS = {
    "h200": Card("H200", (9, 0), 132, 1.98, 151397597184, 4.8e12, 52428800, 233472, 2048, 790e12, 4.0e12),
    "h100": Card("H100 SXM", (9, 0), 132, 1.98, 85e9, 3.35e12, 52428800, 233472, 2048, 790e12, 2.8e12),
    "rtx3080": Card("RTX 3080 12GB", (8, 6), 70, 1.71, 12.6e9, 912e9, 6291456, 102400, 1536, 49e12, 760e9),
}
# Parts of the rates above that kernels of a step reach by what is published of such steps, not measured here: cuBLAS's
# products of these sizes, memory, attention of short rows; and the share of the time in which a kernel runs.
REACHED = {"products": 0.83, "attention products": 0.25, "memory": 0.9, "busy": 0.98}

# The first whose pattern is found in a kernel's scopes. "products" are those of layers, with weights.
CATEGORIES = {
    "norms": r"norm",
    "loss and head": r"masked_lm_head|loss",
    "embeddings": r"/embeddings",
    "attention": r"/attention",
    "feed-forward": r"/feed_forward",
    "residual": r"block_\d+",
}


def category_of(kernel):
    """Returns the part of a step that a `hlo.Kernel` belongs to."""
    scopes = "/" + re.sub(r"[()]", "/", kernel.scope)
    if kernel.flops:
        inner = "fmha" in kernel.kind or re.search(r"/attention/(?!qkv|output/)", scopes)
        return "attention products" if inner else "products"
    card = CARDS[FLAGS.card]
    # Random bits take longer to compute than what they drop takes to move.
    if kernel.integers / card.integers_per_second > kernel.bytes / card.bytes_per_second:
        return "random bits"
    return next((name for name, pattern in CATEGORIES.items() if re.search(pattern, scopes)), "other")


def seconds_of(kernel, reached=None):
    """Returns the seconds of a kernel: the least, or those to be expected where rates are `reached` in parts."""
    card, reached = CARDS[FLAGS.card], reached or dict.fromkeys(REACHED, 1.0)
    products = reached["attention products" if category_of(kernel) == "attention products" else "products"]
    seconds = max(
        kernel.flops / card.flops_per_second / products,
        kernel.bytes / card.bytes_per_second / reached["memory"],
        kernel.integers / card.integers_per_second,
        kernel.specials / card.specials_per_second,
        LAUNCH_SECONDS,
    )
    return seconds / reached["busy"]


def start_jax():
    """Starts JAX on the CPU, with the compiler for CUDA; ends the program with code 2 where that is missing.

    Returns:
        `jax.sharding.Mesh` of one described GPU.
    """
    # The CUDA plugin asks for a driver and libraries unless JAX itself runs on a CPU.
    os.environ["JAX_PLATFORMS"] = "cpu"
    # As tests may have it, for programs that run but for a moment.
    os.environ.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    # Triton's products would have tiles that were never tuned.
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_enable_triton_gemm=false"
    import jax
    import numpy as np
    from jax._src.cudnn import fused_attention_stablehlo
    from jax.experimental import topologies
    from jax.sharding import Mesh

    # Keras and JAX ask the GPU of this process whether cuDNN's attention is there; these are the card's answers.
    fused_attention_stablehlo.check_cudnn_version = lambda: 91300
    card = CARDS[FLAGS.card]
    fused_attention_stablehlo.check_compute_capability = lambda least: (
        tuple(map(int, least.split("."))) <= card.capability
    )
    fused_attention_stablehlo.is_cuda_compute_capability_equal = lambda capability: False
    try:
        described = topologies.get_topology_desc("", platform="cuda", target_config=card.target, topology="1x1x1")
    except NotImplementedError:
        wanted = f"jax-cuda13-plugin=={jax.__version__} jax-cuda13-pjrt=={jax.__version__}"
        print(f"JAX has no compiler for CUDA here: pip install --no-deps {wanted}", file=sys.stderr)
        sys.exit(2)
    return Mesh(np.array(described.devices[:1]), ("devices",))


def make_batches(config, setup, rows, padding):
    """Returns the arrays of a call, micro-batches first."""
    import numpy as np

    batch = harness.masked_rows(rows, config["vocabulary_size"], setup)
    if padding:
        batch["padding_mask"] = np.ones_like(batch["token_ids"])
    return {name: np.repeat(array[None], MICRO_BATCHES, axis=0) for name, array in batch.items()}


def describe(compiled):
    """Returns the figures of a compiled program, those of its loop and those of the rest."""
    text, memory = compiled.as_text(), compiled.memory_analysis()
    once, in_loop = hlo.kernels(text)
    return {
        "once": summarize(once),
        "micro_batch": summarize(in_loop),
        "product_types": hlo.product_types(text),
        "largest_float32": hlo.largest_result(text, "f32"),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "donated_bytes": memory.alias_size_in_bytes,
        "donated_buffers": len(re.findall(r"(?:may|must)-alias", text.partition("\n")[0])),
    }


def summarize(kernels):
    """Returns the figures of a list of `hlo.Kernel`."""
    categories = collections.defaultdict(list)
    for kernel in kernels:
        categories[category_of(kernel)].append(kernel)

    def figures(some):
        totals = {name: sum(getattr(kernel, name) for kernel in some) for name in ("bytes", "flops", "integers")}
        expected = sum(seconds_of(kernel, REACHED) for kernel in some)
        milliseconds = {"milliseconds": 1e3 * sum(map(seconds_of, some)), "expected_milliseconds": 1e3 * expected}
        return {"kernels": len(some), **totals, **milliseconds}

    by_category = {name: figures(some) for name, some in categories.items()}
    slowest_first = sorted(by_category.items(), key=lambda item: -item[1]["milliseconds"])
    kinds = collections.Counter(kernel.kind for kernel in kernels)
    return {**figures(kernels), "kinds": dict(kinds.most_common()), "categories": dict(slowest_first)}


def main(_):
    mesh = start_jax()
    config = harness.start("jax", FLAGS.preset)
    setup = dataclasses.replace(harness.setup_of(FLAGS.preset), sequence_length=FLAGS.length)
    precision = "mixed_bfloat16" if FLAGS.precision == "auto" else FLAGS.precision
    sizes = {
        "num_layers": FLAGS.layers or config["num_layers"],
        "max_sequence_length": max(FLAGS.length, config["max_sequence_length"]),
    }
    from budgetbert.layers import gpu

    step = harness.make_step(FLAGS.preset, precision, setup, **sizes)
    batches = make_batches(config, setup, FLAGS.rows, FLAGS.padding)
    with gpu.described(), gpu.without(*FLAGS.without):
        accumulate, apply = step.compile_accumulate(batches, mesh), step.compile_apply(mesh)
    if FLAGS.program:
        pathlib.Path(FLAGS.program).write_text(accumulate.as_text(), encoding="utf-8")
    result = {
        "preset": FLAGS.preset,
        "precision": precision,
        "layers": sizes["num_layers"],
        "rows": FLAGS.rows,
        "length": FLAGS.length,
        "padding": FLAGS.padding,
        "card": dataclasses.asdict(CARDS[FLAGS.card]),
        "model_flops": model_flops({**config, **sizes}, setup),
        "accumulate": describe(accumulate),
        "apply": describe(apply),
    }
    for part, kind in (("accumulate", "micro_batch"), ("apply", "once")):
        for name in ("milliseconds", "expected_milliseconds"):
            result[f"{part}_{name}"] = result[part][kind][name]
    # What training holds: weights, slots and sums, as the arguments of both are, and what a micro-batch needs besides.
    held = result["apply"]["argument_bytes"] + result["accumulate"]["temporary_bytes"]
    result["memory_bytes"] = max(held, result["apply"]["argument_bytes"] + result["apply"]["temporary_bytes"])
    full_rate = result["model_flops"] / CARDS[FLAGS.card].flops_per_second
    result["share"] = 1e3 * full_rate / result["accumulate_milliseconds"]
    result["expected_share"] = 1e3 * full_rate / result["accumulate_expected_milliseconds"]
    report(result)
    harness.write_json(result, FLAGS.json)


def model_flops(config, setup):
    """Returns the FLOPs of a micro-batch, those that are computed twice counted once."""
    from budgetbert import flops
    from budgetbert.batches import predictions_per_row

    predictions = predictions_per_row(setup.mask_rate, FLAGS.length)
    return FLAGS.rows * FLAGS.length * flops.training_flops_per_token(config, FLAGS.length, predictions)


def report(result):
    """Prints the figures."""
    card, tokens = result["card"], result["rows"] * result["length"]
    print(
        f"{result['preset']}, {result['layers']} layers, {result['rows']} rows of {result['length']}, "
        f"{result['precision']}, {card['name']} at {card['flops_per_second'] / 1e12:,.0f} TFLOP/s and "
        f"{card['bytes_per_second'] / 1e12:,.1f} TB/s"
    )
    accumulate, apply = result["accumulate"], result["apply"]
    parts = {
        "micro-batch": accumulate["micro_batch"],
        "around the micro-batches": accumulate["once"],
        "optimizer": apply["once"],
    }
    for part, figures in parts.items():
        kinds = ", ".join(f"{number} {kind}" for kind, number in figures["kinds"].items())
        print(f"{part}: {figures['kernels']} kernels ({kinds})")
        print(f"  {'category':20} {'kernels':>7} {'GB':>8} {'TFLOP':>8} {'ms':>8} {'expected':>8}")
        categories = figures["categories"] if len(figures["categories"]) > 1 else {}
        for name, some in (*categories.items(), ("sum", figures)):
            numbers = f"{some['bytes'] / 1e9:8.3f} {some['flops'] / 1e12:8.3f} {some['milliseconds']:8.3f}"
            numbers += f" {some['expected_milliseconds']:8.3f}"
            print(f"  {name:20} {some['kernels']:7} {numbers}")
    for name, program in (("accumulate", accumulate), ("apply", apply)):
        print(
            f"{name}: arguments {program['argument_bytes'] / 1e9:.3f} GB, temporaries "
            f"{program['temporary_bytes'] / 1e9:.3f} GB, {program['donated_buffers']} donated buffers of "
            f"{program['donated_bytes'] / 1e9:.3f} GB"
        )
    rates = (f"{1e3 * tokens / result[f'accumulate_{kind}milliseconds']:,.0f}" for kind in ("", "expected_"))
    print(
        f"micro-batches: {result['share']:.1%} of the rate of products, expected {result['expected_share']:.1%}; "
        f"{next(rates)} tokens/s, expected {next(rates)}; memory {result['memory_bytes'] / 1e9:.1f} GB"
    )


if __name__ == "__main__":
    app.run(main)
