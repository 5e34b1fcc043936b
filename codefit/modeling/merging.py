"""Merging an adapter into its base, and measuring how much two models differ.

The merged model is written weight by weight: each is read from the base's files, dequantised to what training used,
merged by PEFT's own layer and written. Only the weights of the file being written are in memory, never a whole model.
"""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import safe_open
from safetensors.torch import save_file

from codefit import console, private_apis
from codefit.errors import UserError
from codefit.gguf_base import local_model
from codefit.model_files import INDEX, WEIGHTS
from codefit.modeling import hardware, hub_files, loading
from codefit.outputs import write_whole


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A base model as it was loaded for training.

    Attributes:
        name: folder or Hub id.
        revision: commit, tag or branch on the Hub.
        load_in_4bit: whether its linear layers were quantised to NF4.
        dtype: dtype of the weights before they were quantised; NF4 codes depend on it.
    """

    name: str
    revision: str | None
    load_in_4bit: bool
    dtype: torch.dtype


def write_merged(base: Base, adapter: str, tokenizer: Any, folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    """Write the base with the adapter merged into it: computed in float32, then rounded to dtype.

    Args:
        base: the base model that the adapter was trained on.
        adapter: the adapter's folder.
        tokenizer: saved into the same folder.
        folder: the folder to write to; weights that it already holds are replaced.
        dtype: dtype of the weights that are written.
        shard_bytes: maximum size of one file; a single larger weight gets a file of its own.

    Raises:
        UserError: the base or the adapter cannot be read, or they cannot be merged.
    """
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    layers = Layers(base, adapter)
    if layers.match_the_checkpoint():
        layers.untie()
        write_shards(layers, folder, dtype, shard_bytes)
        model = layers.model
    else:  # the files name their tensors differently, or the vocabulary grew; Transformers converts them
        model = merge_in_memory(loading.attach_adapter(dequantised(base), adapter)).to(dtype)
        model.save_pretrained(folder, max_shard_size=shard_bytes)
    ends = loading.end_ids(tokenizer, (adapter, None), (base.name, base.revision))
    loading.set_generation_defaults(model, tokenizer, ends)
    model.config.dtype, model.config.architectures = dtype, [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def dequantised(base: Base) -> Any:
    """Load a base in float32 with the weights that training used: dequantised from NF4 where it was quantised.

    Merging into the weights before quantisation would give a different function than the trained one.
    """
    if not base.load_in_4bit:
        return loading.load_model(base.name, revision=base.revision, dtype=torch.float32)
    model = loading.load_model(base.name, revision=base.revision, load_in_4bit=True, dtype=base.dtype)
    return model.dequantize().float()


@torch.no_grad()
def merge_in_memory(adapted: Any) -> Any:
    """Return the base of an attached adapter with the adapter merged into its weights; their dtype does not change.

    A weight that two layers share (tied embeddings) is untied where the adapter changes the two layers differently:
    PEFT would add the update of one layer to both.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    model = adapted.get_base_model()
    for pair in model.all_tied_weights_keys.items():
        owners = [model.get_submodule(name.rpartition(".")[0]) for name in pair]
        if any(isinstance(owner, BaseTunerLayer) for owner in owners):
            owner, kind = owners[0], pair[0].rpartition(".")[2]
            owner = owner.get_base_layer() if isinstance(owner, BaseTunerLayer) else owner
            setattr(owner, kind, torch.nn.Parameter(getattr(owner, kind).clone(), requires_grad=False))
    merged = adapted.merge_and_unload()
    for name, shared in list(merged.all_tied_weights_keys.items()):
        if not torch.equal(merged.get_parameter(name), merged.get_parameter(shared)):
            del merged.all_tied_weights_keys[name]
            merged.config.tie_word_embeddings = False
        elif merged.get_parameter(name) is not merged.get_parameter(shared):
            path, _, kind = name.rpartition(".")
            setattr(merged.get_submodule(path), kind, merged.get_parameter(shared))
    return merged


# ---------------------------------------------------------------------------------------------- weight by weight


class BaseWeights:
    """The tensors in a model's safetensors files, read one at a time."""

    def __init__(self, name: str, revision: str | None) -> None:
        from transformers.utils import hub

        with loading.stated_errors("model", name):
            if index := private_apis.file_if_there(hub, name, INDEX, revision):
                files = hub.get_checkpoint_shard_files(name, index, revision=revision)[0]
            else:
                files = [hub.cached_file(name, WEIGHTS, revision=revision)]
            self.file_of: dict[str, str] = {}
            for file in files:
                with safe_open(file, "pt") as content:
                    self.file_of |= dict.fromkeys(content.keys(), file)

    def shape(self, name: str) -> list[int]:
        """Return the shape of a tensor without reading it."""
        with safe_open(self.file_of[name], "pt") as content:
            shape: list[int] = content.get_slice(name).get_shape()
            return shape

    def read(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return a copy of a tensor in its stored shape, and in its stored dtype where none is given."""
        with safe_open(self.file_of[name], "pt") as content:
            tensor: torch.Tensor = content.get_tensor(name)
            return tensor.to(dtype, copy=True)


class Layers:
    """The layers of a base with its adapter; each weight of the base is read when it is merged, and then freed.

    Attributes:
        sizes: number of elements of each weight of the merged model.
    """

    def __init__(self, base: Base, adapter: str) -> None:
        from peft.tuners.tuners_utils import BaseTuner

        self.base, self.checkpoint = base, BaseWeights(local_model(base.name), base.revision)
        self.quantised = _quantised_layers(base) if base.load_in_4bit else set()
        self.model = _without_weights(base)
        self.tied: dict[str, str] = dict(self.model.all_tied_weights_keys)  # lm_head.weight: model.embed_tokens.weight
        numbers = {name: weight.numel() for name, weight in self.model.state_dict().items()}
        self.sizes = {name: number for name, number in numbers.items() if name not in self.tied}
        # A weight that is not read yet is one number expanded to its shape: no memory, and PEFT finds its layers.
        self.hollow = torch.zeros(())
        for module in self.model.modules():
            for name, weight in _own_weights(module):
                module.register_parameter(name, torch.nn.Parameter(self.hollow.expand(weight.shape), False))
        self.grown = hub_files.rows_of(adapter) > len(self.model.get_input_embeddings().weight)
        adapted = loading.attach_adapter(self.model, adapter, low_cpu_mem_usage=True)
        if not isinstance(adapted.base_model, BaseTuner):
            kind = adapted.peft_config["default"].peft_type.value.lower()
            raise UserError(
                f"{adapter} is a {kind} adapter, which changes no weights to merge; serve it with PEFT instead."
            )
        self.ready: dict[str, torch.Tensor] = {}

    def match_the_checkpoint(self) -> bool:
        """Return whether every weight of the model is a tensor of that name and size in the base's files."""
        return not self.grown and all(name in self.checkpoint.file_of for name in self.sizes)

    def untie(self) -> None:
        """Split a weight that the base shares between two layers, where the adapter makes the two different."""
        for name, shared in self.tied.items():
            if not any(map(self._changed_layer, (name, shared))):
                continue
            both = {each: self._merged(each) for each in (shared, name)}
            self.ready |= both
            if torch.equal(both[name], both[shared]):
                del self.ready[name]
            else:
                self.sizes[name] = both[name].numel()
                self.model.config.tie_word_embeddings = False

    def merged(self, names: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield weights by name with the adapter merged into them, float32, in the shape that each has in the base."""
        for name in console.progress(names, "merge", unit="weight"):
            yield name, self.ready.pop(name) if name in self.ready else self._merged(name)

    def _merged(self, name: str) -> torch.Tensor:
        """Return a merged weight, float32, in its shape; the other weights of its layer are kept in `ready`."""
        layer = self._changed_layer(name)
        if layer is None:
            weight: torch.Tensor = self._filled(self.model.get_submodule(name.rpartition(".")[0]), name)
            return weight
        self.ready |= self._merge(layer)
        return self.ready.pop(name)

    def _changed_layer(self, name: str) -> str | None:
        """Return the path of the layer that a weight belongs to if PEFT has wrapped it, else None."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        parts = name.split(".")
        for depth in range(1, len(parts)):
            path = ".".join(parts[:depth])
            if isinstance(self.model.get_submodule(path), BaseTunerLayer | AuxiliaryTrainingWrapper):
                return path
        return None

    def _merge(self, path: str) -> dict[str, torch.Tensor]:
        """Return the merged weights of a layer that PEFT has wrapped, float32, in their shape; free the layer."""
        layer: Any = self.model.get_submodule(path)
        if not hasattr(layer, "modules_to_save"):  # such a layer is a trained copy that needs nothing of the base
            for inner in layer.modules():
                for name, _ in _own_weights(inner):
                    inner.register_parameter(name, torch.nn.Parameter(self._filled(inner, f"{path}.{name}"), False))
        if hasattr(layer, "unload_and_optionally_merge_module"):
            merged = layer.unload_and_optionally_merge_module(merge=True, safe_merge=False, adapter_names=None)
        else:
            layer.merge()
            merged = layer.get_base_layer()
        self.model.set_submodule(path, torch.nn.Identity())
        return {f"{path}.{name}": weight for name, weight in merged.state_dict().items()}

    def _filled(self, module: torch.nn.Module, name: str) -> Any:
        """Return a module's weight: the adapter's where it stores one, else the tensor of that name in the base."""
        weight = dict(_own_weights(module)).get(name.rpartition(".")[2], self.hollow)
        if weight.data_ptr() != self.hollow.data_ptr():
            return weight
        stored = name if name in self.checkpoint.file_of else self.tied[name]
        if not self.base.load_in_4bit:
            return self.checkpoint.read(stored, torch.float32)
        read = self.checkpoint.read(stored, self.base.dtype)
        return (_as_quantised(read) if name.removesuffix(".weight") in self.quantised else read).float()


def _own_weights(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """Return name and weight of a module without those of the modules in it."""
    return list(module.named_parameters(recurse=False, remove_duplicate=False))


def config_of(base: Base) -> Any:
    """Return the configuration of a base. Raises UserError if it cannot be loaded or the model is stored quantised."""
    from transformers import AutoConfig

    name = local_model(base.name)
    with loading.stated_errors("model", name):
        config = AutoConfig.from_pretrained(name, revision=base.revision)
    if getattr(config, "quantization_config", None):
        raise UserError(
            f"{base.name} is stored quantised, so no merge would be exact; train on the model before quantisation."
        )
    return config


def _without_weights(base: Base) -> Any:
    """Return the model of a base on the meta device: shapes without weights."""
    from transformers import AutoModelForCausalLM

    config = config_of(base)
    with loading.stated_errors("model", local_model(base.name)), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _quantised_layers(base: Base) -> set[str]:
    """Return the names of the layers that loading in 4 bits quantises."""
    from bitsandbytes.nn import Linear4bit
    from transformers.quantizers.auto import AutoHfQuantizer

    model = _without_weights(base)
    AutoHfQuantizer.from_config(loading.nf4(base.dtype), pre_quantized=False).preprocess_model(model, device_map=None)
    return {name for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def _as_quantised(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight after quantising it to NF4 (with double quantisation) and back, same shape and dtype, on CPU."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    codes, state = quantize_4bit(weight.to(hardware.device()), compress_statistics=True, quant_type="nf4")
    left: torch.Tensor = dequantize_4bit(codes, state)
    return left.cpu()


# ---------------------------------------------------------------------------------------------- files


def write_shards(layers: Layers, folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    """Write the merged weights of layers, one after another, with an index where there are several files.

    Args:
        layers: what is merged.
        folder: gets model.safetensors, or model-00001-of-00002.safetensors and so on.
        dtype: dtype that the weights are rounded to.
        shard_bytes: a file holds no more; a single weight may be larger, and gets a file of its own.
    """
    sizes = {name: number * dtype.itemsize for name, number in layers.sizes.items()}
    refuse_full_disk_for_merge(folder, sum(sizes.values()), "merged model")
    plan = split_state_dict_into_shards_factory(
        sizes, get_storage_size=int, filename_pattern="model{suffix}.safetensors", max_shard_size=shard_bytes
    )
    merged = layers.merged([name for names in plan.filename_to_tensors.values() for name in names])
    for file, names in plan.filename_to_tensors.items():
        shard = {name: tensor.to(dtype).contiguous() for name, tensor in itertools.islice(merged, len(names))}
        save_file(shard, folder / file, metadata={"format": "pt"})
        shard.clear()
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        write_whole(folder / INDEX, json.dumps(index, indent=2) + "\n")


def refuse_full_disk_for_merge(folder: Path, needed: int, what: str) -> None:
    """Raise UserError unless the disk of a folder has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"the {what} needs {console.size(needed)} and the disk has {console.size(free)} left; free some space, "
            "or name another --output_dir."
        )


# ---------------------------------------------------------------------------------------------- two models compared


@torch.inference_mode()
def least_likely_choice(name: str, prompts: list[list[int]], written: list[list[int]]) -> float:
    """Return how far the least likely token of given completions is below the model's greedy choice.

    Args:
        name: folder of the model, which is run in float32.
        prompts: token ids.
        written: token ids that another program generated for each prompt with the same weights.

    Returns:
        The largest difference of two logits at one position, in standard deviations of all logits at that position;
        0.0 where nothing was generated.
    """
    model = loading.load_model(name, dtype=torch.float32)
    least = 0.0
    for prompt, ids in zip(prompts, written, strict=True):
        if ids:
            row = torch.tensor([[*prompt, *ids]], device=model.device)
            logits = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            chosen = logits.gather(1, row[0, len(prompt) :, None]).squeeze(1)
            least = max(least, float(((logits.amax(-1) - chosen) / logits.std(-1)).max()))
    return least


def divergence(reference: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Return the mean Kullback-Leibler divergence KL(reference || other) in nats and the top-1 agreement of the rows.

    Args:
        reference: log-probabilities, shape (rows, vocabulary), float32.
        other: the same for the other model.
    """
    kl = (reference.exp() * (reference - other)).sum(-1)
    agreement = (reference.argmax(-1) == other.argmax(-1)).float().mean()
    return float(kl.mean()), float(agreement)
