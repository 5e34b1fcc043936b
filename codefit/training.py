"""The trainer: packed samples that cannot see each other, logits only where there are labels, exact resume.

Isolation needs no special attention kernel: where `position_ids` restart and no attention mask is given, transformers
builds the block-diagonal mask itself, on every backend. An all-ones mask would let packed samples see each other.
"""

import argparse
import contextlib
import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit import encoding, models, scratch
from codefit.cli import UserError
from codefit.encoding import IGNORE, Sample


class PackedRows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Samples packed into rows of one length. Items are dicts of tensors of shape (row_tokens,)."""

    def __init__(self, samples: Sequence[Sample], row_tokens: int, pad_id: int) -> None:
        self.samples = samples
        self.row_tokens = row_tokens
        self.pad_id = pad_id
        self.rows = encoding.pack([len(sample.ids) for sample in samples], row_tokens)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = encoding.lay_out([self.samples[i] for i in self.rows[index]], self.row_tokens, self.pad_id)
        return {name: torch.from_numpy(row[name]) for name in ("input_ids", "position_ids", "labels")}

    @property
    def label_bytes(self) -> int:
        """UTF-8 bytes of all trained text, for bits per byte."""
        return sum(sample.nbytes for sample in self.samples)


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack rows to tensors of shape (rows, row_tokens); labels are already shifted, and named so for the Trainer."""
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    batch["shift_labels"] = batch["labels"]
    return batch


class LabelOnlyHead:
    """Lets the output layer see only the hidden states that have a label.

    With one label in ten tokens and a vocabulary of 50,000 the logits are the largest tensor of a step; nine tenths of
    them would be thrown away. The choice is made in front of the output layer, so that it works inside every wrapper.
    """

    def __init__(self, model: Any) -> None:
        self.positions: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self.positions is None:
            return None
        return (inputs[0].flatten(0, 1)[self.positions], *inputs[1:])

    @contextlib.contextmanager
    def only(self, positions: torch.Tensor) -> Iterator[None]:
        """Within the block, logits have shape (len(positions), vocabulary); positions index the flattened batch."""
        self.positions = positions
        try:
            yield
        finally:
            self.positions = None


class CodeTrainer(Trainer):
    """The Hugging Face Trainer with label-only logits and a validation loss that is a mean over tokens."""

    def __init__(self, *, optimizer_factory: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.optimizer_factory = optimizer_factory
        # a compiled graph wants the same shapes in every step, and a model from scratch has a label on every token
        self.head = None if self.args.torch_compile else LabelOnlyHead(self.model)
        self.remove_callback(ProgressCallback)
        self.add_callback(Narrator())

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Use the optimizer of a model from scratch where one is given."""
        if self.optimizer_factory is not None and self.optimizer is None:
            self.optimizer = self.optimizer_factory(self.model)
        return super().create_optimizer(model) if self.optimizer is None else self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss: summed over the labels, divided by the labels of the whole optimizer step."""
        outputs = self._forward(model, inputs, num_items_in_batch)
        loss = outputs.loss
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _forward(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        labels = inputs["shift_labels"]
        chosen: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.head is not None:
            positions = (labels.flatten() != IGNORE).nonzero().squeeze(1)
            labels = labels.flatten()[positions]
            chosen = self.head.only(positions)
        with chosen:
            return model(
                input_ids=inputs["input_ids"],
                position_ids=inputs["position_ids"],
                labels=labels,
                shift_labels=labels,
                num_items_in_batch=num_items_in_batch,
                use_cache=False,
            )

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return loss in nats per label token, bits per byte and next-token accuracy over the validation samples."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=True)
        was_training = model.training
        model.eval()
        totals = torch.zeros(3, dtype=torch.float64)
        for batch in self.get_eval_dataloader(dataset):
            totals += self._evaluate_batch(model, self._prepare_inputs(batch))
        model.train(was_training)
        nats, tokens, correct = self.accelerator.reduce(totals.to(self.args.device).float()).tolist()
        metrics = {
            f"{metric_key_prefix}_loss": nats / tokens,
            f"{metric_key_prefix}_bits_per_byte": nats / math.log(2) / dataset.label_bytes,
            f"{metric_key_prefix}_accuracy": correct / tokens,
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _evaluate_batch(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return summed nats, number of labels, and number of labels that are the model's first choice."""
        with self.compute_loss_context_manager():
            outputs = self._forward(model, inputs, num_items_in_batch=1)
        labels = inputs["shift_labels"].flatten()
        guesses = outputs.logits.argmax(-1).flatten()
        wanted = labels[labels != IGNORE]
        if self.head is None:
            guesses = guesses[labels != IGNORE]
        return torch.tensor([outputs.loss.item(), wanted.numel(), (guesses == wanted).sum().item()]).double()


class Narrator(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar, with one readable line a log entry instead of a dict."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar at the step that a resumed run starts from."""
        super().on_train_begin(args, state, control, **kwargs)
        self.started = time.monotonic()
        if self.training_bar is not None:
            self.training_bar.ncols, self.training_bar.dynamic_ncols = 99, False
            self.training_bar.set_description("train")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print what is known at this step."""
        if state.is_world_process_zero and self.training_bar is not None and logs and "train_runtime" not in logs:
            self.training_bar.write(describe(state.global_step, logs))


LOG_LABELS = {
    "loss": "loss {:.4f}",
    "grad_norm": "gradient norm {:.3f}",
    "learning_rate": "learning rate {:.2e}",
    "eval_loss": "validation loss {:.4f}",
    "eval_bits_per_byte": "bits per byte {:.4f}",
    "eval_accuracy": "next-token accuracy {:.3f}",
}


def describe(step: int, logs: dict[str, Any]) -> str:
    """Return a log entry of the Trainer as one line."""
    known = [form.format(float(logs[name])) for name, form in LOG_LABELS.items() if name in logs]
    return f"step {step}: " + ", ".join(known)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder; one without its trainer_state.json was torn and is skipped."""
    if not folder.is_dir():
        return None
    found = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


# ---------------------------------------------------------------------------------------------- settings


def make_trainer(
    args: argparse.Namespace, work: Path, model: Any, train: PackedRows, validation: PackedRows
) -> "CodeTrainer":
    """Return the trainer of a run of train.py, whose flags carry the Trainer's own names.

    Raises:
        UserError: the Trainer refuses a setting, or a package that --report_to names is not installed.
    """
    try:
        options = training_arguments(args, work)
        # several GPUs in one process would each see a part of a batch whose label positions count the whole of it;
        # `accelerate launch` gives every GPU a process of its own
        if options.n_gpu > 1:
            options._n_gpu = 1
        return _trainer(args, options, model, train, validation)
    except (ValueError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(f"the Trainer refuses these settings: {reason}; see --help.") from None


def training_arguments(args: argparse.Namespace, work: Path) -> TrainingArguments:
    """Return the flags of train.py as the Trainer's settings."""
    dtype = models.compute_dtype()
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=args.per_device_train_batch_size,
        per_device_eval_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        num_train_epochs=args.num_train_epochs,
        max_steps=args.max_steps or -1,
        learning_rate=args.learning_rate,
        lr_scheduler_type=args.lr_scheduler_type,
        lr_scheduler_kwargs=scheduler_options(args),
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        max_grad_norm=args.max_grad_norm,
        logging_steps=args.logging_steps,
        logging_first_step=True,
        eval_strategy="steps",
        eval_steps=args.eval_steps,
        eval_on_start=True,
        save_steps=args.save_steps,
        save_total_limit=2,
        use_cpu=models.device().type == "cpu",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        activation_checkpointing=args.activation_checkpointing,
        torch_compile=args.torch_compile,
        report_to=args.report_to,
        seed=args.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _trainer(
    args: argparse.Namespace, options: TrainingArguments, model: Any, train: PackedRows, validation: PackedRows
) -> "CodeTrainer":
    new_optimizer = functools.partial(scratch.MuonWithAdamW, lr=args.learning_rate, weight_decay=args.weight_decay)
    return CodeTrainer(
        model=model,
        args=options,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=collate,
        optimizer_factory=new_optimizer if args.from_scratch else None,
    )


def scheduler_options(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return what a warm-up-stable-decay schedule needs beside the Trainer's flags: the last quarter decays.

    Raises:
        UserError: the number of steps is not known.
    """
    if args.lr_scheduler_type != "warmup_stable_decay":
        return None
    if args.max_steps is None:
        raise UserError("warmup_stable_decay needs to know its length; add --max_steps.")
    return {"num_decay_steps": args.max_steps // 4, "decay_type": "1-sqrt"}
