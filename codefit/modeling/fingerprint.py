"""A fingerprint of the function that a loaded model computes."""

import hashlib
import json
from typing import Any

import torch

from codefit import private_apis


def fingerprint(model: Any) -> dict[str, str]:
    """Return what identifies the function that a loaded model computes, independent of where it was loaded from.

    The digest covers the weights in memory, quantised or not; the architecture; and the weights and settings of an
    adapter unless it is disabled (a base with a disabled adapter equals the base). Dtype and device are separate keys.
    """
    prefix = getattr(getattr(model, "base_model", None), "prefix", None)  # of the adapter's weights, such as "lora_"
    is_off = any(getattr(module, "disable_adapters", False) is True for module in model.modules())
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NAMES_OF_A_CONFIG}
    facts: dict[str, Any] = {"config": config, "attention": private_apis.attention_of(model)}
    if prefix and not is_off:
        adapters = {name: adapter.to_dict() for name, adapter in model.peft_config.items()}
        facts["adapters"] = {
            name: {key: value for key, value in adapter.items() if key not in _NAMES_OF_A_CONFIG}
            for name, adapter in adapters.items()
        }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=_as_json).encode())
    named = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if not (prefix and is_off and prefix in name)
    }
    for name, tensor in sorted(named.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    where = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    kernels = torch.backends.cpu.get_cpu_capability() if model.device.type == "cpu" else ""
    return {"model": digest.hexdigest(), "dtype": str(model.dtype), "device": f"{where} {kernels}".strip()}


# Settings that name a model or adapter and do not change what it computes.
_NAMES_OF_A_CONFIG = {"_name_or_path", "transformers_version", "architectures", "base_model_name_or_path", "revision"}


def _as_json(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
