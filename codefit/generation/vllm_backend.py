"""Generation with vLLM (`--backend vllm`), which uses continuous batching: for large models on a GPU.

vLLM pins other versions of shared dependencies than codefit, so it is not one of codefit's requirements; it is imported
only for this flag. Prompts and decoding are those of the default backend: token ids from codefit/encoding.py, greedy
decoding, the tasks' stop conditions. vLLM's usage reports are turned off.
"""

import gc
import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codefit import gguf_base, model_files
from codefit.errors import UserError, first_line
from codefit.generation import batch_check
from codefit.generation.batched import Completion
from codefit.generation.stopping import StopRule
from codefit.modeling import hardware, hub_files, loading

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the values that vLLM accepts for max_lora_rank
MEMORY_ON_CPU = 0.3  # the share of memory that vLLM may use on a CPU; on a GPU vLLM's default applies, nearly all


def refuse_unsupported(base: str, revision: str | None, adapters: Sequence[str], load_in_4bit: bool) -> None:
    """Raise UserError, before anything is loaded, where vLLM is missing or does not support these models.

    Args:
        base: folder or Hub id of the base.
        revision: revision of the base.
        adapters: folders of adapters of this base. vLLM does not report tensors that it ignores.
        load_in_4bit: whether the base is to be quantised.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "--backend vllm needs vLLM, which is not installed; run `pip install vllm` in a separate environment, "
            "or leave the flag out."
        )
    if load_in_4bit:
        raise UserError(
            "--backend vllm does not support models in 4 bits; add --no-load_in_4bit, or leave --backend vllm out."
        )
    for adapter in adapters:
        if what := _unsupported_part(base, revision, adapter):
            raise UserError(
                f"{adapter} {what}, which vLLM cannot attach; merge it with merge_lora.py and name the merged model, "
                "or leave --backend vllm out."
            )


def _unsupported_part(base: str, revision: str | None, adapter: str) -> str | None:
    """Return which part of an adapter vLLM would refuse or ignore, as words; None if it supports all of it.

    Raises:
        UserError: the adapter does not fit the base.
    """
    config = model_files.adapter_config(Path(adapter) / model_files.ADAPTER_CONFIG)
    if config.use_dora:
        return "is a DoRA adapter"
    if hub_files.rows_of(adapter):
        return "adds tokens"
    if config.modules_to_save:
        return f"holds fully trained layers ({', '.join(config.modules_to_save)})"
    if config.lora_bias or config.bias not in (None, "none"):
        return "holds trained biases"
    outline = loading.load_model(base, revision=revision, place=torch.device("meta"))
    attached = loading.attach_adapter(outline, adapter, low_cpu_mem_usage=True)
    ends = (attached.get_input_embeddings(), attached.get_output_embeddings())
    return "changes the embedding or the output layer" if any(hasattr(each, "lora_A") for each in ends) else None


class VllmBackend:
    """A model in vLLM, with the adapters that will be used. `close` frees its memory.

    Args:
        name: folder, GGUF file or Hub id of the model.
        revision: commit, tag or branch on the Hub.
        adapters: folders of adapters.

    Raises:
        UserError: vLLM cannot load it.
    """

    def __init__(self, name: str, revision: str | None, adapters: Sequence[str] = ()) -> None:
        os.environ |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        import vllm

        self.adapters = list(adapters)
        self.dtype = str(hardware.compute_dtype()).removeprefix("torch.")
        options: dict[str, Any] = {"dtype": self.dtype, "load_format": "safetensors", "skip_tokenizer_init": True}
        if not torch.cuda.is_available():
            options |= {"gpu_memory_utilization": MEMORY_ON_CPU, "distributed_executor_backend": "uni"}
            options |= {"enforce_eager": True}  # compiling takes minutes on a CPU
        if adapters:
            options |= {"enable_lora": True, "max_lora_rank": max(map(_rank, adapters))}
        try:
            self._engine = vllm.LLM(
                gguf_base.local_model(name), revision=revision, generation_config="vllm", seed=0, **options
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"vLLM cannot load {name} ({first_line(error)}); leave --backend vllm out.") from None

    @property
    def version(self) -> str:
        """The name and version of the installed vLLM package, whose name varies."""
        names = importlib.metadata.packages_distributions()["vllm"]
        return f"vllm {importlib.metadata.version(names[0])}"

    def complete(
        self,
        prompts: Sequence[list[int]],
        *,
        max_new_tokens: int,
        eos_ids: Sequence[int],
        stop: StopRule | None = None,
        adapter: str | None = None,
        do_progress: bool = False,
    ) -> list[Completion]:
        """Return the greedy completion of each prompt, as `batched.generate` does.

        The stop condition is applied afterwards: vLLM generates up to max_new_tokens, and the text is then cut.

        Raises:
            UserError: vLLM cannot attach the adapter.
        """
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        number = self.adapters.index(adapter) + 1 if adapter else 0
        request = LoRARequest(f"adapter-{number}", number, adapter) if adapter else None
        greedy = SamplingParams(
            temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=sorted(eos_ids), detokenize=False
        )
        inputs: Any = [{"prompt_token_ids": prompt} for prompt in prompts]
        try:
            found = self._engine.generate(inputs, greedy, lora_request=request, use_tqdm=do_progress)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"vLLM cannot run {adapter or 'the model'} ({first_line(error)}); leave --backend vllm out."
            ) from None
        return [_completion(list(output.outputs[0].token_ids), frozenset(eos_ids), stop) for output in found]

    def flips(
        self, prompts: Sequence[list[int]], completions: Sequence[Completion], **settings: Any
    ) -> tuple[int, int]:
        """Run the batch check of `batch_check.flips`, by decoding again."""
        sample = batch_check.sample(len(prompts))
        batches = [sample[at : at + batch_check.ROWS] for at in range(0, len(sample), batch_check.ROWS)]
        again = [new for batch in batches for new in self.complete([prompts[at] for at in batch], **settings)]
        return sum(completions[at] != new for at, new in zip(sample, again, strict=True)), len(sample)

    def close(self) -> None:
        """Free the memory for the next model."""
        self._engine.llm_engine.engine_core.shutdown()
        del self._engine
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _rank(adapter: str) -> int:
    config = model_files.adapter_config(Path(adapter) / model_files.ADAPTER_CONFIG)
    rank = max(config.r, *(config.rank_pattern or {}).values(), 1)
    return next((room for room in RANKS if rank <= room), RANKS[-1])


def _completion(ids: list[int], eos_ids: frozenset[int], stop: StopRule | None) -> Completion:
    """Return generated token ids cut at end-of-sequence or the stop condition."""
    end = next((at for at, token in enumerate(ids) if token in eos_ids), None)
    written = ids if end is None else ids[:end]
    ended = (at for at in range(1, len(written) + 1) if stop and stop.has_ended(written[:at]))
    cut = next(ended, None)
    return Completion(written[:cut], "length" if end is cut is None else "stop")
