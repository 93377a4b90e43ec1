"""What a training step becomes on a GPU, without one: kernels, bytes, memory and a predicted time, on JAX.

XLA compiles for an H200 that is only described to it, so that any machine can compare two versions of a step: which
attention is called, what is fused, how many bytes a micro-batch moves. Bytes are those that kernels read and write,
counted from the compiled program; the time is a roofline, the slowest of bytes, matrix products, integer operations
and special functions for each kernel, and is reached by no real run. Nothing is tuned, because that needs the GPU:
products are cuBLAS's, at the rate of --flops_per_second.

Needs     pip install "budgetbert[gpu-program]"; no driver and no CUDA library
Run       python tools/gpu_program.py --preset crammed_base --rows 256 --layers 2
"""

import collections
import dataclasses
import os
import re
import sys

import harness
import hlo
from absl import app, flags

harness.define_flags(preset="crammed_base", rows=256, backends=("jax",))
flags.DEFINE_integer("length", 128, "Tokens per row.", 1)
flags.DEFINE_integer("layers", None, "Layers of the encoder. Defaults to the preset's.", 1)
flags.DEFINE_boolean("padding", False, "Whether rows come with a mask of padding, as documents of their own do.")
# 80 % of the 989 TFLOP/s and 4.8 TB/s of NVIDIA's data sheet, which large products and copies reach.
flags.DEFINE_float("flops_per_second", 790e12, "Rate of matrix products.", 1)
flags.DEFINE_float("bytes_per_second", 4.0e12, "Rate of memory.", 1)
FLAGS = flags.FLAGS

# 132 multiprocessors at 1.9 GHz, with 64 lanes for integers and 16 for special functions (NVIDIA H100 whitepaper).
INTEGERS_PER_SECOND, SPECIALS_PER_SECOND = 132 * 64 * 1.9e9, 132 * 16 * 1.9e9
LAUNCH_SECONDS = 2e-6
# The loop over micro-batches must stay a loop, and one of one turn would be unrolled.
MICRO_BATCHES = 2

H200 = """
gpu_device_info {
  name: "NVIDIA H200 141GB HBM3e" model_str: "H200" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 } platform_version: "Compute Capability 9.0"
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  memory_bandwidth: 4800000000000 device_memory_size: 151397597184 l2_cache_size: 52428800
  pcie_bandwidth: 34359738368 device_address_bits: 64 ecc_enabled: true
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H200 141GB HBM3e"
"""

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
        inner = "fmha" in kernel.kind or re.search(r"/attention/(?!qkv|output)", scopes)
        return "attention products" if inner else "products"
    # Random bits take longer to compute than what they drop takes to move.
    if kernel.integers / INTEGERS_PER_SECOND > kernel.bytes / FLAGS.bytes_per_second:
        return "random bits"
    return next((name for name, pattern in CATEGORIES.items() if re.search(pattern, scopes)), "other")


def seconds_of(kernel):
    """Returns the least seconds of a kernel."""
    return max(
        kernel.flops / FLAGS.flops_per_second,
        kernel.bytes / FLAGS.bytes_per_second,
        kernel.integers / INTEGERS_PER_SECOND,
        kernel.specials / SPECIALS_PER_SECOND,
        LAUNCH_SECONDS,
    )


def start_jax():
    """Starts JAX on the CPU, with the compiler for CUDA; ends the program with code 2 where that is missing.

    Returns:
        `jax.sharding.Mesh` of one described H200.
    """
    # The CUDA plugin asks for a driver and libraries unless JAX itself runs on a CPU.
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Triton's products would have tiles that were never tuned.
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_enable_triton_gemm=false"
    import jax
    import numpy as np
    from jax._src.cudnn import fused_attention_stablehlo
    from jax.experimental import topologies
    from jax.sharding import Mesh

    # Keras and JAX ask the GPU of this process whether cuDNN's attention is there; these are an H200's answers.
    fused_attention_stablehlo.check_cudnn_version = lambda: 91300
    fused_attention_stablehlo.check_compute_capability = lambda capability: True
    fused_attention_stablehlo.is_cuda_compute_capability_equal = lambda capability: False
    try:
        described = topologies.get_topology_desc("", platform="cuda", target_config=H200, topology="1x1x1")
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
        return {"kernels": len(some), **totals, "milliseconds": 1e3 * sum(map(seconds_of, some))}

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
    step = harness.make_step(FLAGS.preset, precision, setup, **sizes)
    batches = make_batches(config, setup, FLAGS.rows, FLAGS.padding)
    result = {
        "preset": FLAGS.preset,
        "precision": precision,
        "layers": sizes["num_layers"],
        "rows": FLAGS.rows,
        "length": FLAGS.length,
        "padding": FLAGS.padding,
        "flops_per_second": FLAGS.flops_per_second,
        "bytes_per_second": FLAGS.bytes_per_second,
        "accumulate": describe(step.compile_accumulate(batches, mesh)),
        "apply": describe(step.compile_apply(mesh)),
    }
    report(result)
    harness.write_json(result, FLAGS.json)


def report(result):
    """Prints the figures."""
    print(
        f"{result['preset']}, {result['layers']} layers, {result['rows']} rows of {result['length']}, "
        f"{result['precision']}, an H200 at {result['flops_per_second'] / 1e12:,.0f} TFLOP/s and "
        f"{result['bytes_per_second'] / 1e12:,.1f} TB/s"
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
        print(f"  {'category':20} {'kernels':>7} {'GB':>8} {'TFLOP':>8} {'ms':>8}")
        categories = figures["categories"] if len(figures["categories"]) > 1 else {}
        for name, some in (*categories.items(), ("sum", figures)):
            numbers = f"{some['bytes'] / 1e9:8.3f} {some['flops'] / 1e12:8.3f} {some['milliseconds']:8.3f}"
            print(f"  {name:20} {some['kernels']:7} {numbers}")
    for name, program in (("accumulate", accumulate), ("apply", apply)):
        print(
            f"{name}: arguments {program['argument_bytes'] / 1e9:.3f} GB, temporaries "
            f"{program['temporary_bytes'] / 1e9:.3f} GB, {program['donated_buffers']} donated buffers of "
            f"{program['donated_bytes'] / 1e9:.3f} GB"
        )


if __name__ == "__main__":
    app.run(main)
