"""The device, its arithmetic and its attention kernels."""

import contextlib
import os
from typing import Any

import torch

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


def fast_at_bfloat16(cpu: dict[str, Any]) -> bool:
    """Return whether a CPU with these capabilities multiplies matrices faster in bfloat16 than in float32."""
    amd = str(cpu.get("cpu_name", "")).startswith("AMD")
    return bool(cpu.get("amx_tile") or (amd and cpu.get("avx512_bf16")))


def share_key_value_heads() -> None:
    """Let PyTorch's attention read key/value heads that several query heads share, instead of copying them for each.

    Transformers does so only without an attention mask, for the sake of GPUs. On a CPU the results are the same bits
    with a mask too: for 200 rows of 100 tokens with 9 query heads and 3 key/value heads, in bfloat16, attention to a
    new token took 3.9 ms instead of 13.8.
    """
    if device().type == "cpu":
        os.environ.setdefault("TRANSFORMERS_SDPA_FORCE_GQA", "1")


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
