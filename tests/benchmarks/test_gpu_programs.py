"""What a program launches, read from the text of one."""

from __future__ import annotations

import pytest

from benchmarks.gpu_programs import GPUS, KERNEL_S, ROUND_TRIP_S, modelled_s, parse, step_of, target_config

TEXT = """
HloModule jit_solve, is_scheduled=true

%inner (p.1: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p.1 = (s32[], f32[4]{0}) parameter(0)
  %g.1 = f32[4]{0} get-tuple-element(%p.1), index=1
  %dot.1 = (f32[4]{0}, s8[64]{0}) custom-call(%g.1), custom_call_target="__cublas$lt$matmul"
  %add.1 = f32[4]{0} fusion(%g.1), kind=kLoop, calls=%fused_add
  ROOT %t.1 = (s32[], f32[4]{0}) tuple(%add.1, %add.1)
}

%here (p.2: f32[4]) -> f32[4] {
  %p.2 = f32[4]{0} parameter(0)
  ROOT %two = f32[4]{0} fusion(%one), kind=kLoop, calls=%fused_two
}

%there (p.3: f32[4]) -> f32[4] {
  %p.3 = f32[4]{0} parameter(0)
  %three = f32[4]{0} fusion(%p.3), kind=kLoop, calls=%fused_three
  %four = f32[4]{0} fusion(%three), kind=kLoop, calls=%fused_four
  ROOT %five = f32[4]{0} copy(%four)
}

%body (p.4: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p.4 = (s32[], f32[4]{0}) parameter(0)
  %loop = (s32[], f32[4]{0}) while(%p.4), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"10"}}
  %pick = f32[4]{0} conditional(%flag, %p.4, %p.4), true_computation=%here, false_computation=%there
  ROOT %t.4 = (s32[], f32[4]{0}) tuple(%pick, %pick)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %copied = f32[4]{0} copy(%x)
  %steps = (s32[], f32[4]{0}) while(%copied), condition=%d, body=%body
  ROOT %result = f32[4]{0} get-tuple-element(%steps), index=1
}
"""


def test_kernels_of_loops_and_branches():
    step = step_of(TEXT)
    assert (step.least, step.launched, step.libraries, step.round_trips) == (10 * 2 + 1, 10 * 2 + 3, 10, 1)
    whole = parse(TEXT)
    assert whole.kernels == {"copy": 1}
    assert (whole.least, whole.launched, whole.round_trips) == (1, 1 + 23, 2)


def test_a_modelled_time_is_work_and_launches_and_waits():
    gpu, waits = GPUS["H100"], 23 * KERNEL_S + ROUND_TRIP_S
    assert modelled_s(gpu, 0.0, 0.0, 23, 1) == pytest.approx(waits)
    assert modelled_s(gpu, gpu.float32_flops_s, 0.0, 23, 1) == pytest.approx(1 + waits)
    assert modelled_s(gpu, 0.0, 2 * gpu.bandwidth_b_s, 23, 1) == pytest.approx(2 + waits)


@pytest.mark.parametrize("name", GPUS)
def test_a_data_sheet_says_what_the_compiler_asks(name):
    text = target_config(GPUS[name])
    assert text.count("{") == text.count("}")
    assert f"core_count: {GPUS[name].cores}" in text
