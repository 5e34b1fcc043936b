"""A stand-in for vLLM with the part of its interface that codefit uses; what it writes comes from Transformers."""

from types import SimpleNamespace

import torch

from codefit.generation import batched
from codefit.modeling import loading

MADE = []  # the engines of a test


class SamplingParams:
    def __init__(self, *, temperature=1.0, max_tokens=16, stop_token_ids=None, detokenize=True):
        assert temperature == 0.0
        self.max_tokens, self.stop_token_ids, self.detokenize = max_tokens, stop_token_ids, detokenize


class LLM:
    def __init__(
        self,
        model,
        *,
        revision=None,
        dtype="auto",
        seed=0,
        skip_tokenizer_init=False,
        gpu_memory_utilization=0.92,
        enforce_eager=False,
        **kwargs,
    ):
        if not skip_tokenizer_init:
            raise ValueError("a tokenizer is not needed")
        self.options = {"model": model, "dtype": dtype, **kwargs}
        self.model = loading.load_model(model, revision=revision, dtype=getattr(torch, dtype))
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._shutdown))
        self.is_open = True
        MADE.append(self)

    def _shutdown(self, timeout=None):
        self.is_open = False

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True, lora_request=None):
        if lora_request and self.options["max_lora_rank"] < 8:
            raise ValueError("LoRA rank 8 is greater than max_lora_rank")
        model = loading.attach_adapter(self.model, lora_request.lora_path) if lora_request else self.model
        ids = [prompt["prompt_token_ids"] for prompt in prompts]
        stops = sampling_params.stop_token_ids
        found = batched.generate(model, ids, max_new_tokens=sampling_params.max_tokens, eos_ids=stops, pad_id=0)
        if lora_request:
            model.unload()
        written = [item.ids + stops[:1] if item.finish_reason == "stop" else item.ids for item in found]
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=tokens)]) for tokens in written]
