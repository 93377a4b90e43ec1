import json
import pathlib
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


@pytest.mark.slow
def test_a_crammed_step_calls_the_attention_of_cudnn(tmp_path):
    from budgetbert import flops
    from budgetbert.batches import predictions_per_row
    from budgetbert.presets import PRESETS

    flags = ["--preset", "tiny_crammed", "--rows", "8", "--json", tmp_path / "program.json"]
    ended = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True)
    if ended.returncode == 2:
        pytest.skip(ended.stderr.splitlines()[-1])
    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "program.json").read_text())
    accumulate, micro_batch = result["accumulate"], result["accumulate"]["micro_batch"]
    for kind in ("__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"):
        assert micro_batch["kinds"][kind] == result["layers"]
    config = {**PRESETS["tiny_crammed"]["backbone"], **PRESETS["tiny_crammed"]["masked_lm"]}
    per_token = flops.training_flops_per_token(config, 128, predictions_per_row(0.25, 128))
    # The backward pass of the attention computes one of its products anew.
    assert 1.0 <= micro_batch["flops"] / (8 * 128 * per_token) < 1.05
    # The sums of the gradients, of the losses and of the weights are changed in place.
    assert accumulate["donated_buffers"] > 2
    assert accumulate["donated_bytes"] < accumulate["argument_bytes"] < 3 * accumulate["donated_bytes"]
    assert result["apply"]["donated_bytes"] > 0.9 * result["apply"]["argument_bytes"]
