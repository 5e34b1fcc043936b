"""Which CPUs compute in bfloat16."""

import pytest

from codefit.modeling import hardware


@pytest.mark.parametrize(
    ("cpu", "fast"),
    [
        ({"cpu_name": "Intel Xeon Processor", "amx_tile": True, "avx512_bf16": True}, True),
        ({"cpu_name": "Intel Xeon Processor", "amx_tile": False, "avx512_bf16": True}, False),
        ({"cpu_name": "AMD EPYC", "amx_tile": False, "avx512_bf16": True}, True),
        ({"cpu_name": "AMD EPYC", "avx512_bf16": False}, False),
        ({"cpu_name": "Apple M1"}, False),
        ({}, False),
    ],
)
def test_bfloat16_is_used_where_it_was_measured_to_be_faster(cpu: dict[str, object], fast: bool) -> None:
    assert hardware.fast_at_bfloat16(cpu) is fast
