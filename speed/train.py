"""LoRA training compared with alternatives: paired, in one run, with alternating repeats.

    pip install trl==1.16.0
    python -m speed.train --dataset outputs/pairs --model data/base
    python -m speed.train --dataset outputs/pairs --model phi

    python -m speed.train --dataset outputs/pairs --model SmolLM2-135M-Instruct.Q4_1.gguf --rows 2

For the first two, the data set is prepared with `--model_name_or_path data/base --max_prompt_tokens 100
--max_completion_tokens 36`; for a GGUF file, with that file. All programs load the folder that codefit converts it to.
`phi` is a random model of phi's architecture, 4 layers of width 512 with the vocabulary of data/base. Every training
has a process and a thread of its own, the same examples, each once, and LoRA of rank 16 on all linear layers:

- `train.py`: its trainer, with its settings;
- QLoRA: train.py with `--load_in_4bit`; not for phi, whose random weights are not in a file;
- bare loop: the very batches of train.py, made in advance, logits at labels alone, nothing else. It is the limit;
- Trainer: that of Transformers, every row padded to 512;
- TRL: its SFTTrainer; packed: with `packing=True`, rows as long as those of train.py.

All compute in the dtype of train.py: bfloat16 on CPUs that are fast at it.

Times are processor seconds, so that other programs on the machine do not count, from the first batch to the last step
of a training. A ratio is the median of the ratios within a repeat, where all ways meet the same noise; the spread is
its range.
"""

import dataclasses
import itertools
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from codefit import cli, console, gguf_base
from codefit.errors import UserError

ROOT = Path(__file__).resolve().parent.parent

BASE = ROOT / "data" / "base"
ROW_TOKENS = 640  # the context of data/base
PADDED = 512
PROMPT_TOKENS = 128  # longer prompts of the data set are cut


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of preprocess_data.py")
    parser.add_argument("--model", default=str(BASE), help="folder of a model, GGUF file, or phi")
    parser.add_argument("--rows", type=cli.number(int, 1), default=4, help=f"rows of {ROW_TOKENS} tokens in a step")
    parser.add_argument("--steps", type=cli.number(int, 1), default=2, help="steps per repeat")
    parser.add_argument("--repeats", type=cli.number(int, 1), default=5, help="repeats of every method")
    return parser


# ---------------------------------------------------------------------------------------------- what all have


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What every way trains: a model (a folder, or phi) on so many rows in each of so many steps."""

    dataset: Path
    model: str
    rows: int
    steps: int


def new_model(name: str, load_in_4bit: bool = False) -> Any:
    import torch
    import transformers

    from codefit.modeling import adapters, loading

    torch.manual_seed(0)
    if name == "phi":
        shape: dict[str, Any] = {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
        }
        config = transformers.PhiConfig(**shape, vocab_size=8192, bos_token_id=None, eos_token_id=0, pad_token_id=1)
        model = transformers.AutoModelForCausalLM.from_config(config)
    else:
        model = loading.load_model(name, load_in_4bit=load_in_4bit)
    return adapters.add_lora(model, r=16, alpha=32, dropout=0.0, targets="all-linear")


def new_tokenizer(name: str) -> Any:
    from codefit.modeling import loading

    return loading.load_tokenizer(str(BASE) if name == "phi" else name)


def read_samples(job: Job) -> list[Any]:
    """Return as many examples, drawn by seed, as the rows of all steps hold when they are packed."""
    from codefit import encoding
    from codefit.records import Pair, read_jsonl

    pairs = list(read_jsonl(job.dataset / "train.jsonl", Pair))
    random.Random(0).shuffle(pairs)
    encoder = encoding.Encoder(new_tokenizer(job.model), PROMPT_TOKENS)
    rows = job.rows * job.steps
    samples = encoding.encode(pairs, encoder, ROW_TOKENS, rows * ROW_TOKENS)[0]
    lengths = [len(sample.ids) for sample in samples]
    while len(encoding.pack(lengths, ROW_TOKENS)) > rows or len(lengths) % job.steps:
        lengths.pop()
    if len(encoding.pack(lengths, ROW_TOKENS)) < rows:
        raise UserError(f"{job.dataset} does not fill {rows} rows; prepare it from more files, or use fewer --steps.")
    return samples[: len(lengths)]


class Counting:
    """A collator that counts what the first batches hold; a trainer may fetch one more than it uses."""

    def __init__(self, collator: Any, batches: int) -> None:
        self.collator, self.batches = collator, batches
        self.begin()

    def begin(self) -> None:
        """Count from here: train.py has made a validation before its first step."""
        self.left, self.tokens, self.labels = self.batches, 0, 0

    def __call__(self, rows: list[Any]) -> Any:
        if self.left:
            self.left -= 1
            for row in rows:
                self._count(row)
        return self.collator(rows)

    def _count(self, row: Any) -> None:
        if isinstance(row, list):  # of codefit's samples
            self.tokens += sum(len(sample.ids) for sample in row)
            self.labels += sum(len(sample.ids) - sample.start for sample in row)
        else:
            self.tokens += len(row["input_ids"])
            self.labels += sum(label != -100 for label in row["labels"])


def timed(trainer: Any, counting: Counting) -> tuple[float, int, int]:
    """Train, and return seconds from the first batch to the end of the last step, tokens, and labels."""
    from transformers import TrainerCallback

    times = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_epoch_begin(self, *words: Any, **facts: Any) -> None:
            counting.begin()
            times.append(time.process_time())

        def on_step_end(self, *words: Any, **facts: Any) -> None:
            times.append(time.process_time())

    trainer.data_collator = counting
    trainer.add_callback(Clock())
    trainer.train()
    return times[-1] - times[0], counting.tokens, counting.labels


# ---------------------------------------------------------------------------------------------- the ways


def own_trainer(job: Job, samples: list[Any], seed: int, folder: str, load_in_4bit: bool = False) -> Any:
    import train
    from codefit.training import packing
    from codefit.training.settings import of_flags
    from codefit.training.trainer import make_trainer

    words = ["--model_name_or_path", job.model, "--output_dir", folder, "--max_steps", job.steps, "--seed", seed]
    words += ["--per_device_train_batch_size", job.rows, "--gradient_accumulation_steps", 1]
    flags = train.build_parser().parse_args([*map(str, words), "--eval_steps", "1000"])
    settings = of_flags(vars(flags))
    rows = packing.PackedRows(samples, ROW_TOKENS, 1)
    validation = packing.PackedRows(samples[:1], ROW_TOKENS, 1)
    return make_trainer(settings, 1000, Path(folder), new_model(job.model, load_in_4bit), rows, validation)


def own(job: Job, samples: list[Any], seed: int, folder: str, load_in_4bit: bool = False) -> tuple[float, int, int]:
    trainer = own_trainer(job, samples, seed, folder, load_in_4bit)
    return timed(trainer, Counting(trainer.data_collator, job.steps))


def qlora(job: Job, samples: list[Any], seed: int, folder: str) -> tuple[float, int, int]:
    return own(job, samples, seed, folder, load_in_4bit=True)


def bare(job: Job, samples: list[Any], seed: int, folder: str) -> tuple[float, int, int]:
    import torch

    from codefit.modeling import hardware

    narrow = hardware.compute_dtype()
    trainer = own_trainer(job, samples, seed, folder)
    counting = trainer.data_collator = Counting(trainer.data_collator, job.steps)
    batches = list(itertools.islice(trainer.get_train_dataloader(), job.steps))
    model = trainer.model.train()
    inner = model.get_base_model()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-4, weight_decay=0.0, fused=True)
    started = time.process_time()
    for batch in batches:
        labels = batch["labels"].flatten()
        positions = (labels != -100).nonzero().squeeze(1)
        with torch.autocast("cpu", narrow, enabled=narrow != torch.float32):
            states = inner.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False)[0]
            logits = inner.lm_head(states.flatten(0, 1)[positions])
            loss = torch.nn.functional.cross_entropy(logits, labels[positions])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started, counting.tokens, counting.labels


def listed(samples: list[Any]) -> list[dict[str, list[int]]]:
    rows = ((sample.ids.tolist(), sample.start) for sample in samples)
    return [{"input_ids": ids, "labels": [-100] * start + ids[start:]} for ids, start in rows]


def settings(job: Job, samples: list[Any], seed: int, folder: str) -> dict[str, Any]:
    import torch

    from codefit.modeling import hardware

    count, narrow = len(samples) // job.steps, hardware.compute_dtype() == torch.bfloat16
    common = {"max_steps": job.steps, "learning_rate": 2e-4, "seed": seed, "report_to": [], "save_strategy": "no"}
    return common | {"output_dir": folder, "per_device_train_batch_size": count, "use_cpu": True, "bf16": narrow}


def padded(job: Job, samples: list[Any], seed: int, folder: str) -> tuple[float, int, int]:
    import torch
    from transformers import Trainer, TrainingArguments

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        def fill(name: str, filler: int) -> torch.Tensor:
            return torch.tensor([row[name] + [filler] * (PADDED - len(row[name])) for row in rows])

        mask = [[1] * len(row["input_ids"]) + [0] * (PADDED - len(row["input_ids"])) for row in rows]
        return {"input_ids": fill("input_ids", 1), "labels": fill("labels", -100), "attention_mask": torch.tensor(mask)}

    options = TrainingArguments(**settings(job, samples, seed, folder))
    trainer = Trainer(model=new_model(job.model), args=options, train_dataset=listed(samples))
    return timed(trainer, Counting(collate, job.steps))


def trl(job: Job, samples: list[Any], seed: int, folder: str, packing: bool = False) -> tuple[float, int, int]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    # its own default, gradient checkpointing, saves memory for a third more time; none of the others does it
    options = settings(job, samples, seed, folder) | {"gradient_checkpointing": False}
    if packing:
        options |= {"packing": True, "per_device_train_batch_size": job.rows}
    trainer = SFTTrainer(
        model=new_model(job.model),
        args=SFTConfig(**options, max_length=ROW_TOKENS),
        train_dataset=Dataset.from_list(listed(samples)),
        processing_class=new_tokenizer(job.model),
    )
    return timed(trainer, Counting(trainer.data_collator, job.steps))


def trl_packed(job: Job, samples: list[Any], seed: int, folder: str) -> tuple[float, int, int]:
    return trl(job, samples, seed, folder, packing=True)


WAYS: dict[str, Callable[..., tuple[float, int, int]]] = {
    "train.py": own,
    "QLoRA": qlora,
    "bare loop": bare,
    "Trainer, padded to 512": padded,
    "TRL": trl,
    "TRL, packed": trl_packed,
}


# ---------------------------------------------------------------------------------------------- measuring


def work(way: str, job: Job, samples: list[Any], seed: int, pipe: Any) -> None:
    """Go one way; say seconds, tokens, labels, and the megabytes of memory that were not there before."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(prefix="codefit-speed-") as folder:
        found = WAYS[way](job, samples, seed, folder)
    pipe.send((*found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000))


def measure(job: Job, repeats: int) -> dict[str, list[tuple[float, int, int, float]]]:
    """Return (seconds, tokens, labels, megabytes) of each way, one a repeat; who begins changes."""
    import peft  # noqa: F401  # these once, for all processes that are forked from this one
    import torch
    import trl.trainer.sft_trainer  # noqa: F401

    import train  # noqa: F401
    from codefit.training import trainer  # noqa: F401

    torch.set_num_threads(1)
    samples = read_samples(job)
    context = multiprocessing.get_context("fork")
    ways = [way for way in WAYS if job.model != "phi" or way != "QLoRA"]
    found: dict[str, list[tuple[float, int, int, float]]] = {way: [] for way in ways}
    for way, repeat in console.progress(list(turns(ways, repeats)), "repeats"):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(way, job, samples, repeat, there))
        process.start()
        there.close()
        try:
            found[way].append(here.recv())
        except EOFError:
            raise UserError(f"{way} ended without a result; if memory ran out, stop other programs first.") from None
        process.join()
        print(way, found[way][-1], file=sys.stderr, flush=True)
    return found


def turns(ways: list[str], repeats: int) -> Iterator[tuple[str, int]]:
    for repeat in range(repeats):
        start = repeat % len(ways)
        yield from ((way, repeat) for way in ways[start:] + ways[:start])


def main() -> None:
    args = build_parser().parse_args()
    model = args.model if args.model == "phi" else gguf_base.local_model(args.model)
    found = measure(Job(args.dataset, model, args.rows, args.steps), args.repeats)
    rows = []
    for way, repeats in found.items():
        tokens = [count / seconds for seconds, count, _, _ in repeats]
        labels = [count / seconds for seconds, _, count, _ in repeats]
        ratios = [own[1] / own[0] / other for own, other in zip(found["train.py"], tokens, strict=True)]
        rates = [f"{statistics.median(rate):,.0f}" for rate in (tokens, labels)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append([way, *rates, f"{repeats[-1][3]:,.0f}", f"{statistics.median(ratios):.2f}", spread])
    print(console.table(rows, ["way", "tokens/s", "labels/s", "peak MB", "train.py is faster by", "spread"]))


if __name__ == "__main__":
    cli.run(main)
