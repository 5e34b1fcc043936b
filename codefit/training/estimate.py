"""An estimate of what a training run needs (memory, time, disk), made in seconds and without loading weights."""

import itertools
import os
import random
import resource
import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from codefit import console, distributed, encoding, private_apis
from codefit.encoding import IGNORE
from codefit.errors import UserError
from codefit.modeling import hardware, osf
from codefit.training.packing import Collator, PackedRows
from codefit.training.settings import LoraSettings, ScheduleSettings, Settled, TrainSettings

NF4_BYTES = 4.127 / 8  # per weight: 4 bits, and the scales after double quantisation (arXiv 2305.14314)
LARGEST_MOMENTS = 8  # bytes per trained weight on the disk: two moments in float32
CHECKPOINTS = 3  # two are kept while a third is written
EFFICIENCY = 0.5  # speed of a training, as a share of that of a plain matrix product
FULL = 0.9  # share of the memory that can be used: the system and the libraries need the rest
ARITHMETIC_SECONDS = 0.3  # how long the speed is measured
LOOKED_AT = 32  # random batches of which the largest counts for the peak
FRAGMENTED = 2.0  # on a CPU: memory that a process holds for activations, over their size; measured: docs/training.md


def sources(
    values: Mapping[str, Any], given: Collection[str], hidden: Collection[str], known: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Return name, value and source of every setting that has a value and applies to this run.

    Args:
        values: the values of all flags, including those that were decided.
        given: names of the flags in the command.
        hidden: names of the flags that do not apply.
        known: where a value that is neither in the command nor a default came from.
    """
    rows = []
    for name, value in values.items():
        if value is not None and value is not False and name not in hidden:
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            source = "flag" if name in given else known.get(name, "default")
            rows.append((name, console.shortened(text, 60), source))
    return rows


def memory(model: Any, schedule: ScheduleSettings, load_in_4bit: bool, data: PackedRows) -> dict[str, float]:
    """Return the peak memory of a training in bytes, by purpose. The model may be on the meta device.

    Activations are counted: a forward pass with fake tensors tells which tensors the backward pass needs, for the
    largest of some random batches.

    Args:
        model: the model with its trainable parts.
        schedule: the schedule of the training.
        load_in_4bit: whether the base is quantised.
        data: the rows that will be trained on.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    config = model.config.get_text_config()
    (rows, width), labels = largest_batch(data, schedule, config.hidden_size)
    saved = activations(model, rows, width)
    if schedule.activation_checkpointing:  # layers are recomputed one at a time; only their inputs are kept
        layers = config.num_hidden_layers
        saved = saved / layers + layers * rows * width * config.hidden_size * 4
    parts = {
        "weights": weight_bytes(model, load_in_4bit),
        "gradients and optimizer": trained * (4 + schedule.moments_bytes),
        "activations": saved,
        "logits": float(labels * config.vocab_size * logit_bytes()),
    }
    if hardware.device().type == "cpu":
        parts["libraries"] = resident_bytes()
        parts["fragmentation"] = (FRAGMENTED - 1) * (parts["activations"] + parts["logits"])
    return parts


def logit_bytes() -> int:
    """Return the bytes per logit in a step: float32 with softmax and gradient, and 16-bit copies where those exist."""
    narrow = hardware.compute_dtype()
    return 3 * 4 + (0 if narrow == torch.float32 else 2 * narrow.itemsize)


def largest_batch(data: PackedRows, schedule: ScheduleSettings, hidden_size: int) -> tuple[tuple[int, int], int]:
    """Return (rows, width) of the largest of some batches, and at how many positions it needs logits."""
    collate = Collator(data, hidden_size, fixed=schedule.torch_compile)
    chance, found = random.Random(0), []
    size = min(schedule.per_device_train_batch_size, len(data.rows))
    for _ in range(LOOKED_AT):
        labels = collate([[data.samples[i] for i in row] for row in chance.sample(data.rows, size)])["labels"]
        positions = labels.numel() if schedule.torch_compile else int((labels != IGNORE).sum())
        found.append(((labels.shape[0], labels.shape[1]), positions))
    return max(found, key=lambda batch: batch[0][0] * batch[0][1] * (6 * hidden_size + batch[0][1]))


def weight_bytes(model: Any, in_4bit: bool) -> float:
    """Return the bytes of the weights; frozen linear layers except the output layer count as quantised in 4 bits."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    total = float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
    if in_4bit:
        head = model.get_output_embeddings()
        quantised = [
            module.weight
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head and not module.weight.requires_grad
        ]
        total -= sum(weight.numel() * (weight.element_size() - NF4_BYTES) for weight in quantised)
    return total


def activations(model: Any, rows: int, row_tokens: int) -> float:
    """Return the bytes that a forward pass keeps for the backward pass, without the logits.

    Fake tensors have a shape, a dtype and a device but no values, so that autocast and attention choose the dtypes
    and kernels of a real step.

    Args:
        model: the model with its trainable parts; it may be on the meta device.
        rows: rows of the batch.
        row_tokens: tokens per row.
    """
    device, dtype = hardware.device(), hardware.compute_dtype()
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = private_apis.storage_number(tensor)
        if storage not in weights:
            kept[storage] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    with private_apis.tensors_without_values(torch):
        state = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device=device, requires_grad=tensor.requires_grad)
            for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers())
        }
        weights = {private_apis.storage_number(tensor) for tensor in state.values()}
        # the full mask is given, since none can be derived from positions without values
        ids = torch.zeros((rows, row_tokens), dtype=torch.long, device=device)
        mask = torch.zeros((rows, 1, row_tokens, row_tokens), device=device, dtype=model.dtype)
        with (
            torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
            torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
        ):
            options = {"input_ids": ids, "use_cache": False, "logits_to_keep": 1}
            try:
                output = torch.func.functional_call(model, state, kwargs=options | {"attention_mask": mask})
            except ValueError:  # ALiBi takes no mask of this shape, and needs none
                kept.clear()
                output = torch.func.functional_call(model, state, kwargs=options)
    del output
    return float(sum(kept.values()))


def seconds(model: Any, schedule: ScheduleSettings, tokens: float) -> float:
    """Return the estimated training time for a number of tokens: operations over the speed of this machine.

    A forward pass takes two operations per weight and token. A backward pass takes as many for the gradients of the
    activations, and as many again for the gradients of trained weights.
    """
    weights = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name)
    trained = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and p.requires_grad)
    operations = 2 * (2 + schedule.activation_checkpointing) * weights + 2 * trained
    return float(tokens * operations / (EFFICIENCY * speed()))


def speed() -> float:
    """Measure the operations per second of a plain matrix product in the dtype that training computes in."""
    device, dtype = hardware.device(), hardware.compute_dtype()
    size = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    (a @ b).sum().item()  # warm-up
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < ARITHMETIC_SECONDS:
        (a @ b)[0, 0].item()
        done += 1
    return done * 2 * size**3 / (time.perf_counter() - started)


def resident_bytes() -> float:
    """Return the resident memory of this process in bytes; its peak where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_memory()
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def peak_memory() -> float:
    """Return the peak memory of this process in bytes: of the GPU, or of the machine where there is none."""
    if hardware.device().type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def memory_there() -> float:
    """Return the bytes of memory of the GPU, or of this machine where there is none."""
    if hardware.device().type == "cuda":
        return float(torch.cuda.get_device_properties(hardware.device()).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


# ---------------------------------------------------------------------------------------------- disk


def bytes_written(model: Any, lora: LoraSettings) -> int:
    """Return how many bytes checkpoints and result take on the disk at most."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if osf.is_split(model):
        result = sum(p.numel() for p in model.parameters()) - trained
    else:
        result = trained * (2 if lora.changes_base else 1)  # such adapters are saved at twice the rank
    return int(4 * result + CHECKPOINTS * trained * (4 + LARGEST_MOMENTS))


def free_bytes(output: Path) -> int:
    """Return the free bytes of the disk that an output will be on."""
    place = output.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def refuse_full_disk(output: Path, lora: LoraSettings, model: Any) -> None:
    """Raise UserError where checkpoints and result do not fit on the disk."""
    free, needed = free_bytes(output), bytes_written(model, lora)
    if free < needed:
        raise UserError(
            f"the disk of {output} has {console.size(free)} free, but checkpoints and result need "
            f"{console.size(needed)}; free some space, or choose another --output_dir."
        )


# ---------------------------------------------------------------------------------------------- printed


def length(schedule: ScheduleSettings, rows: PackedRows) -> tuple[int, int]:
    """Return the number of optimizer steps of a run, and the rows per step."""
    per_step = schedule.rows_per_step(distributed.processes())
    return schedule.max_steps or int(-(-len(rows.rows) * schedule.num_train_epochs // per_step)), per_step


def describe(schedule: ScheduleSettings, model: Any, rows: PackedRows, ledger: Mapping[str, int], output: Path) -> None:
    """Print what will be trained, on which data, and where the result will be."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counts = encoding.counts(rows.samples)
    fill = counts["tokens"] / (len(rows.rows) * rows.row_tokens)
    steps, per_step = length(schedule, rows)
    console.show(f"parameters  {trained:,} trained of {total:,}")
    for part in (False, True):  # the replay rows get a separate line
        reasons = [
            f"{count:,} {reason.removeprefix('replay ')}"
            for reason, count in ledger.items()
            if count and reason.startswith("replay ") == part
        ]
        if reasons:
            console.show(("replay      " if part else "rows        ") + ", ".join(reasons))
    console.show(f"tokens      {counts['tokens']:,}, {counts['label_tokens']:,} of them labels; ", end="")
    console.show(f"packed into {console.counted(len(rows.rows), 'row')} of {rows.row_tokens} ({fill:.0%} full)")
    console.show(
        f"steps       {steps:,} of {console.counted(per_step, 'row')}, {steps * per_step / len(rows.rows):.2f} epochs"
    )
    console.show(f"output      {output}")


def foresee(
    settings: TrainSettings, settled: Settled, model: Any, rows: PackedRows, table: Sequence[tuple[str, str, str]]
) -> None:
    """Print what the run would take, and every setting with its source."""
    schedule = settings.schedule
    steps, per_step = length(schedule, rows)
    parts = memory(model, schedule, settled.load_in_4bit, rows)
    needed, there = sum(parts.values()), memory_there()
    fits = "fits into" if needed < FULL * there else "may not fit into"
    console.show(f"memory      about {console.size(needed)} at the peak, which {fits} {console.size(there)}:")
    listed = ", ".join(f"{name} {console.size(count)}" for name, count in parts.items())
    console.show(textwrap.indent(textwrap.fill(listed, console.width() - 12, break_on_hyphens=False), " " * 12))
    took = console.duration(seconds(model, schedule, steps * per_step * settled.max_length / distributed.processes()))
    console.show(f"time        about {took} on this {hardware.device().type}, without validation: estimated from")
    console.show(f"            {EFFICIENCY:.0%} of the measured speed of a matrix product; half or twice as")
    console.show("            much is possible")
    console.show(
        f"disk        {console.size(bytes_written(model, settings.lora))} at most for checkpoints and result; ", end=""
    )
    console.show(f"{console.size(free_bytes(settings.output.output_dir))} free")
    if settings.output.hf_repository:
        console.show(f"hub         you can write to {settings.output.hf_repository}")
    console.show("\n" + console.table(table, ("setting", "value", "from")))
