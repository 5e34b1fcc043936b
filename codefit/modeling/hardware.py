"""The device, its arithmetic and its attention kernels."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from codefit import private_apis


def device() -> torch.device:
    """Return the device for models: the GPU if there is one, unless `accelerate launch --cpu` rules it out."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """Return the dtype to compute in: bfloat16 where the hardware is fast at it, float16 on older GPUs, else float32.

    Among CPUs, those with AMX and AMD's with avx512_bf16 are fast at it. Billion operations a second of one core:

    - an Intel Xeon with avx512_bf16 but without AMX, 640 x 2048 times 2048 x 8192: 82 in bfloat16, 153 in float32
    - an AMD EPYC (family 25, model 17), 1024 x 896 times 896 x 4864: 197 in bfloat16, 93 in float32
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if fast_at_bfloat16(torch.cpu.get_capabilities()) else torch.float32


def fast_at_bfloat16(cpu: Mapping[str, Any]) -> bool:
    """Return whether a CPU with these capabilities multiplies matrices faster in bfloat16 than in float32."""
    amd = str(cpu.get("cpu_name", "")).startswith("AMD")
    return bool(cpu.get("amx_tile") or (amd and cpu.get("avx512_bf16")))


def share_key_value_heads() -> None:
    """Let attention on a CPU read key/value heads that several query heads share, instead of copying them for each.

    Transformers' variable does so where there are several new tokens, `attention_to_one` where there is one.
    """
    if device().type == "cpu":
        os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")
        AttentionInterface.register("sdpa", attention_to_one)


def attention_to_one(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Return Transformers' SDPA attention; for one new token, with all query heads of a key/value head in one product.

    For 100 rows of 160 tokens with 9 query heads and 3 key/value heads, on an AMD EPYC (family 25, model 17), one
    product for each query head took 19 ms in bfloat16, one for each key/value head 4 ms; in float32 both took 5 ms.

    Args:
        module: the attention layer.
        query: shape (rows, query heads, new tokens, head size).
        key: shape (rows, key/value heads, tokens, head size), of the dtype of `query`.
        value: like `key`.
        attention_mask: shape (rows, 1 or query heads, new tokens, tokens), bool or added to the scores.
        options: further arguments of Transformers' function.

    Returns:
        attention of shape (rows, new tokens, query heads, head size), and None.
    """
    rows, heads, new, _ = query.shape
    shared = heads // key.shape[1]
    plain = all(not options.get(name) for name in ("softcap", "position_bias", "cache", "dropout"))
    if new > 1 or shared == 1 or not plain or (attention_mask is not None and attention_mask.shape[1] > 1):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    grouped = query.reshape(rows, key.shape[1], shared, -1)
    found = torch.nn.functional.scaled_dot_product_attention(
        grouped, key, value, attn_mask=attention_mask, scale=options.get("scaling")
    )
    return found.reshape(rows, 1, heads, -1), None


def use_flash_attention(model: Any) -> None:
    """Switch a model, or the base of an adapter, to FlashAttention-2 where it is installed and can run."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    base = model.get_base_model() if hasattr(model, "peft_config") else model
    capability = torch.cuda.get_device_capability() if device().type == "cuda" else (0, 0)
    if takes_flash_attention(is_flash_attn_2_available(), device().type, capability):
        with contextlib.suppress(ValueError, ImportError):  # the architecture does not support it
            base.set_attn_implementation("flash_attention_2")


def takes_flash_attention(installed: bool, device_type: str, capability: tuple[int, int]) -> bool:
    """Return whether FlashAttention-2 is used: it needs a GPU of compute capability 8.0 (Ampere) or higher."""
    return installed and device_type == "cuda" and capability >= (8, 0)


def flash_attention(model: Any) -> bool:
    """Return whether a model uses FlashAttention, which separates packed samples only in a batch of one row."""
    return private_apis.attention_of(model).startswith("flash_attention")
