"""Which CPUs compute in bfloat16, and attention with shared key/value heads."""

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("new", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_shared_heads_give_the_attention_of_transformers(dtype: torch.dtype, new: int, masked: bool) -> None:
    torch.manual_seed(0)
    query = torch.randn(4, 6, new, 8, dtype=dtype)
    key, value = torch.randn(2, 4, 2, 10, 8, dtype=dtype)
    mask = torch.ones(4, 1, new, 10, dtype=torch.bool)
    mask[0, :, :, :5] = False
    layer = torch.nn.Module()
    layer.num_key_value_groups = 3  # type: ignore[assignment]
    given = mask if masked else None
    expected, _ = sdpa_attention_forward(layer, query, key, value, given, scaling=0.3, is_causal=False)
    found, _ = hardware.attention_to_one(layer, query, key, value, given, scaling=0.3, is_causal=False)
    assert found.shape == (4, new, 6, 8)
    torch.testing.assert_close(found, expected)
