import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.without_backend

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "gpu_program.py"

PROGRAM = """HloModule step, is_scheduled=true

%adds_a_part (first: f32[8,4], second: f32[2,4]) -> f32[8,4] {
  %first = f32[8,4]{1,0} parameter(0)
  %second = f32[2,4]{1,0} parameter(1)
  %zero = s32[] constant(0)
  ROOT %changed = f32[8,4]{1,0} dynamic-update-slice(%first, %second, %zero, %zero)
}

%body (state: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %state = (s32[], f32[8,4]{1,0}) parameter(0)
  %turn = s32[] get-tuple-element(%state), index=0
  %left = f32[8,4]{1,0} get-tuple-element(%state), index=1
  %right = f32[4,16]{1,0} constant({...})
  %product = (f32[8,16]{1,0}, s8[4096]{0}) custom-call(%left, %right), custom_call_target="__cublas$lt$matmul", \
metadata={op_name="jit(step)/block_0/attention/qkv/dot_general"}, backend_config={"dot_dimension_numbers":\
{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}
  %part = f32[2,4]{1,0} constant({...})
  %sums = f32[8,4]{1,0} fusion(%left, %part), kind=kLoop, calls=%adds_a_part
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%turn, %sums)
}

%condition (state.1: (s32[], f32[8,4])) -> pred[] {
  %state.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  ROOT %more = pred[] constant(true)
}

ENTRY %main (argument: f32[8,4]) -> f32[8,4] {
  %argument = f32[8,4]{1,0} parameter(0)
  %copied = f32[8,4]{1,0} copy(%argument)
  %begin = s32[] constant(0)
  %both = (s32[], f32[8,4]{1,0}) tuple(%begin, %copied)
  %loop = (s32[], f32[8,4]{1,0}) while(%both), condition=%condition, body=%body
  ROOT %result = f32[8,4]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_kernels_are_counted_by_what_they_move_and_multiply(monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    from hlo import Kernel, kernels

    once, in_loop = kernels(PROGRAM)
    assert once == [Kernel("copy", "", 2 * 4 * 32)]
    product = Kernel("__cublas$lt$matmul", "jit(step)/block_0/attention/qkv/dot_general", 4 * (32 + 64 + 128), 2 * 512)
    # The array that is changed in place is neither read nor written as a whole.
    assert in_loop == [product, Kernel("fusion", "", 2 * 4 * 8)]


def test_types_of_products_and_large_arrays_are_found(monkeypatch):
    monkeypatch.syspath_prepend(TOOL.parent)
    from hlo import largest_result, product_types

    assert product_types(PROGRAM) == {"f32 x f32": 1}
    assert largest_result(PROGRAM, "f32") == 8 * 16


# What a micro-batch of two layers is at most, at full width, on an H200. A change that needs more says why in
# docs/LOG.md, and one that needs less writes it down here.
AT_MOST = {
    "crammed_base": {"rows": 256, "kernels": 133, "gigabytes": 16.5, "temporary_gigabytes": 2.68},
    "bert_large_24h": {"rows": 128, "kernels": 172, "gigabytes": 11.8, "temporary_gigabytes": 1.64},
}


@pytest.mark.slow
@pytest.mark.parametrize("preset", AT_MOST)
def test_a_step_is_the_program_that_was_written_down(preset, tmp_path):
    from budgetbert.batches import predictions_per_row
    from budgetbert.presets import PRESETS

    if not (shutil.which("ptxas") or os.path.exists("/usr/local/cuda/bin/ptxas")):
        pytest.skip("there is no ptxas, CUDA's assembler")
    most = AT_MOST[preset]
    flags = ["--preset", preset, "--layers", "2", "--rows", str(most["rows"]), "--json", tmp_path / "program.json"]
    path = [os.environ.get("BUDGETBERT_CUDA_COMPILER"), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
    ended = subprocess.run([sys.executable, TOOL, *flags], env=environment, capture_output=True, text=True)
    if ended.returncode == 2:
        pytest.skip(ended.stderr.splitlines()[-1])
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "program.json").read_text())
    accumulate, micro_batch = result["accumulate"], result["accumulate"]["micro_batch"]
    assert micro_batch["kinds"]["attention_forward"] == micro_batch["kinds"]["attention_gradient"] == 2
    assert "random bits" not in micro_batch["categories"]
    assert set(accumulate["product_types"]) == {"bf16 x bf16"}
    rows, mask_rate = most["rows"], 0.25 if preset == "crammed_base" else 0.15
    logits = rows * predictions_per_row(mask_rate, 128) * PRESETS[preset]["backbone"]["vocabulary_size"]
    assert accumulate["largest_float32"] < logits
    assert micro_batch["kernels"] <= most["kernels"]
    assert micro_batch["bytes"] / 1e9 <= most["gigabytes"]
    assert accumulate["temporary_bytes"] / 1e9 <= most["temporary_gigabytes"]
    # The kernel of the gradient of attention computes one product anew.
    assert 1.0 <= micro_batch["flops"] / result["model_flops"] < 1.05
    # The sums of the gradients, of the losses and of the weights are changed in place, and so is all of the optimizer.
    assert accumulate["donated_buffers"] > 2
    assert accumulate["donated_bytes"] < accumulate["argument_bytes"] < 3 * accumulate["donated_bytes"]
    apply = result["apply"]
    assert apply["donated_bytes"] > 0.9 * apply["argument_bytes"]
    assert apply["temporary_bytes"] < 0.01 * apply["argument_bytes"]
    # Weights, two slots and sums are read and written, of which the norms read two before.
    weights = apply["argument_bytes"] / 16
    assert apply["once"]["bytes"] / weights < 38
