"""The trainer: packed samples that cannot see each other, logits only where there are labels, exact resume.

Isolation needs no special attention kernel: where `position_ids` restart and no attention mask is given, transformers
builds the block-diagonal mask itself, on every backend. An all-ones mask would let packed samples see each other.
Where an architecture cannot isolate (codefit/training/sample_isolation.py), a row holds one sample.
Flash-attention knows packed samples by their positions too, but only in a batch of one row; there, rows are laid end
to end.
"""

import contextlib
import dataclasses
import gc
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, ProgressCallback, Trainer

from codefit import console, distributed, private_apis
from codefit.encoding import IGNORE
from codefit.errors import UserError, first_line
from codefit.modeling import hardware
from codefit.training import callbacks, run_folder, trainer_settings
from codefit.training.heldout_eval import HeldOut
from codefit.training.packing import Collator, PackedRows
from codefit.training.settings import TrainSettings

TOP = 5  # an editor shows about so many suggestions


class LabelOnlyHead:
    """Lets the output layer see only the hidden states that have a label.

    With one label in ten tokens and a vocabulary of 50,000 the logits are the largest tensor of a step; nine tenths of
    them would be thrown away. The choice is made in front of the output layer, so that it works inside every wrapper.
    """

    def __init__(self, model: Any) -> None:
        self.positions: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Return of hidden states, shape (batch, tokens, hidden), those at the positions, shape (positions, hidden)."""
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
    """The Hugging Face Trainer with label-only logits, a validation loss that is a mean over tokens, and predictions.

    Args:
        optimizer_factory: makes the optimizer of the model; the Trainer's own when None.
        replay: validation rows of the replay data set, on which forgetting is seen.
        held_out: pairs that are completed at every evaluation.
        options: those of the Trainer.
    """

    def __init__(
        self,
        *,
        optimizer_factory: Any = None,
        replay: PackedRows | None = None,
        held_out: HeldOut | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if self.is_fsdp_enabled:
            keep_sums_exact(self.accelerator.state.fsdp_plugin)
        self.optimizer_factory = optimizer_factory
        self.replay = replay
        self.held_out = held_out
        self.predicting_seconds = 0.0
        self.row_tokens: int = options["train_dataset"].row_tokens
        # a compiled graph wants the same shapes in every step, and a model from scratch has a label on every token
        self.head = None if self.args.torch_compile else LabelOnlyHead(self.model)
        self.end_to_end = hardware.flash_attention(self.model) and options["train_dataset"].isolates
        self.rescued = False  # from running out of memory
        self.batches_of_step: list[dict[str, Any]] = []
        self.remove_callback(ProgressCallback)
        self.add_callback(callbacks.Narrator())
        self.stop = callbacks.StopOnSignal()
        self.add_callback(self.stop)
        self.losses = callbacks.ContinueLosses(self)
        self.add_callback(self.losses)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Use the optimizer of a model from scratch, or of LoRA+, where one is given."""
        if self.optimizer_factory is not None and self.optimizer is None:
            self.optimizer = self.optimizer_factory(self.model)
        return super().create_optimizer(model) if self.optimizer is None else self.optimizer

    def _run_epoch(self, *args: Any, **options: Any) -> None:
        """Train for an epoch, unless the run had ended with the checkpoint it continues: the Trainer would go on."""
        if self._has_ended():
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **options)

    def _has_ended(self) -> bool:
        """Return whether all steps are done, or no better validation was found for too long."""
        patience = [item for item in self.callback_handler.callbacks if isinstance(item, EarlyStoppingCallback)]
        return self.state.global_step >= self.state.max_steps or any(
            item.early_stopping_patience_counter >= item.early_stopping_patience for item in patience
        )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save a checkpoint, and seal it when every process has written its part."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        checkpoint = run_folder.checkpoint_of(Path(str(self.args.output_dir)), self.state.global_step)
        self.losses.keep(checkpoint)
        if self.args.should_save:
            run_folder.seal(checkpoint)

    # ------------------------------------------------------------------------------------------ a step

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Add the gradients of a batch; the first time that memory runs out, go on with less of it.

        Returns the loss of the batch in nats, shape (), float32.

        Raises:
            UserError: memory runs out a second time, or on one of several processes, whose others wait.
        """
        self.batches_of_step.append(inputs)
        loss = None
        try:
            loss = self._add_gradients(model, inputs, num_items_in_batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if loss is None:  # here the tensors that the error held are gone
            loss = self._rescue(model, num_items_in_batch)
        if self.accelerator.sync_gradients:
            self.batches_of_step = []
        return loss

    def _add_gradients(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
        """Return the loss of a batch after its backward pass, in nats, shape (); once rescued, in parts of that sum."""
        if not self.rescued:
            return super().training_step(model, inputs, num_items_in_batch)
        count = min(len(inputs["input_ids"]), self.args.per_device_train_batch_size)
        split = {name: tensor.tensor_split(count) for name, tensor in inputs.items()}
        parts = [{name: tensors[part] for name, tensors in split.items()} for part in range(count)]
        losses = [super(CodeTrainer, self).training_step(model, part, num_items_in_batch) for part in parts]
        return torch.stack(losses).sum()

    def _rescue(self, model: Any, num_items_in_batch: Any) -> torch.Tensor:
        """Make the gradients of this optimizer step anew with less memory.

        Returns the loss of its newest batch in nats, shape ().
        """
        rows = self.args.per_device_train_batch_size
        if self.rescued or self.args.world_size > 1 or (rows == 1 and self.args.activation_checkpointing):
            raise UserError(self._out_of_memory())
        self.rescued = True
        console.show(
            f"out of memory at step {self.state.global_step + 1}: going on from here with activation checkpointing "
            f"and {rows} x 1 row instead of {rows} at once; the effective batch stays the same.",
            file=sys.stderr,
        )
        model.zero_grad()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.accelerator.unwrap_model(model).activation_checkpointing_enable()
        loss = torch.zeros(())
        try:
            for batch in self.batches_of_step:
                loss = self._add_gradients(model, batch, num_items_in_batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(self._out_of_memory()) from None
        return loss

    def _out_of_memory(self) -> str:
        """Return what to do, by what was not yet done."""
        rows, accumulation = self.args.per_device_train_batch_size, self.args.gradient_accumulation_steps
        flags = ["--per_device_train_batch_size 1", f"--gradient_accumulation_steps {rows * accumulation}"]
        flags += ["--activation_checkpointing"]
        if self.rescued or (rows == 1 and self.args.activation_checkpointing):
            flags += [f"--max_length {self.row_tokens // 2}"]
            if hasattr(self.model, "peft_config") and not getattr(self.model, "is_loaded_in_4bit", False):
                flags += ["--load_in_4bit"]
        step = self.state.global_step + 1
        return f"out of memory at step {step}; run the command again with {' '.join(flags)} --overwrite."

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log. Raises UserError when the loss is no number any more: no later step could mend that."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise UserError(
                f"the loss is {logs['loss']} at step {self.state.global_step}; lower --learning_rate or "
                "--max_grad_norm and add --overwrite, or run again from the last checkpoint."
            )
        for speed in ("train_samples_per_second", "train_steps_per_second"):  # of all steps over the time of some
            logs.pop(speed, None)
        super().log(logs, start_time)

    # ------------------------------------------------------------------------------------------ the loss

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
        if self.end_to_end:
            inputs = {name: tensor.reshape(1, -1) for name, tensor in inputs.items()}
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
        """Return loss in nats per label token, perplexity, bits per byte and top-k accuracy over validation samples.

        Top-k accuracy is the share of label tokens that are among the model's k first choices; `accuracy` is k = 1.

        With a replay data set also the loss on that; with held-out pairs also the scores of the predictions.
        """
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        # sharded weights come together only when the wrapper is called
        sharded = self.is_fsdp_enabled
        model = self.model_wrapped if sharded else self.accelerator.unwrap_model(self.model, keep_torch_compile=True)
        was_training = model.training
        model.eval()
        nats, tokens, first, among = self._totals(model, dataset)
        metrics = {
            f"{metric_key_prefix}_loss": nats / tokens,
            f"{metric_key_prefix}_perplexity": math.exp(min(nats / tokens, 700)),  # a float ends at e^709
            f"{metric_key_prefix}_bits_per_byte": nats / math.log(2) / dataset.label_bytes,
            f"{metric_key_prefix}_accuracy": first / tokens,
            f"{metric_key_prefix}_top_{TOP}_accuracy": among / tokens,
        }
        if self.replay is not None:
            nats, tokens, *_ = self._totals(model, self.replay)
            metrics[f"{metric_key_prefix}_replay_loss"] = nats / tokens
        if self.held_out is not None:
            metrics |= {f"{metric_key_prefix}_{name}": value for name, value in self._predict(model).items()}
        model.train(was_training)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def weights(self) -> dict[str, torch.Tensor] | None:
        """Return the state dict where the weights are sharded over processes, all of which must ask; else None.

        Its tensors are whole, in the shape and dtype that each has in the model.
        """
        return self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None

    def _totals(self, model: Any, dataset: PackedRows) -> list[float]:
        """Return the sums of _evaluate_batch over all batches and processes."""
        totals = torch.zeros(4, dtype=torch.float64)
        for batch in self.get_eval_dataloader(dataset):
            totals += self._evaluate_batch(model, self._prepare_inputs(batch))
        found: list[float] = self.accelerator.reduce(totals.to(self.args.device).float()).tolist()
        return found

    def _predict(self, model: Any) -> dict[str, float]:
        """Return the scores of the held-out predictions. Every process makes them all: sharded weights need that."""
        started = time.monotonic()
        try:
            with self.compute_loss_context_manager():
                return self.held_out.scores(model)  # type: ignore[union-attr]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError("out of memory while predicting; lower --eval_predictions, or set it to 0.") from None
        finally:
            self.predicting_seconds += time.monotonic() - started

    def _evaluate_batch(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return summed nats, number of labels, and how many labels are the first, and among the TOP first choices.

        Shape (4,), float64.
        """
        with self.compute_loss_context_manager():
            outputs = self._forward(model, inputs, num_items_in_batch=1)
        labels = inputs["shift_labels"].flatten()
        logits = outputs.logits.flatten(0, -2)
        if self.head is None:
            logits = logits[labels != IGNORE]
        wanted = labels[labels != IGNORE]
        hits = logits.topk(min(TOP, logits.shape[-1]), dim=-1).indices == wanted[:, None]
        counted = [outputs.loss.item(), wanted.numel(), hits[:, 0].sum().item(), hits.sum().item()]
        return torch.tensor(counted, dtype=torch.float64)


def wait_for_others() -> None:
    """Wait until all processes of this training have come here."""
    if distributed.processes() > 1:
        PartialState(cpu=hardware.device().type == "cpu").wait_for_everyone()


def keep_sums_exact(plugin: Any) -> None:
    """Let FSDP sum gradients and return losses in float32, as one process does; accelerate would round to bfloat16."""
    policy = plugin.mixed_precision_policy
    if plugin.fsdp_version == 2 and policy is not None:
        exact = {"reduce_dtype": torch.float32, "output_dtype": torch.float32}
        plugin.mixed_precision_policy = dataclasses.replace(policy, **exact)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


# ---------------------------------------------------------------------------------------------- settings


def make_trainer(
    settings: TrainSettings,
    save_steps: int,
    work: Path,
    model: Any,
    train: PackedRows,
    validation: PackedRows,
    replay: PackedRows | None = None,
    held_out: HeldOut | None = None,
    *,
    resumed: bool = False,
) -> "CodeTrainer":
    """Return the trainer of a run of train.py.

    Raises:
        UserError: the Trainer refuses a setting.
    """
    try:
        options = trainer_settings.training_arguments(settings, save_steps, work, resumed)
        # several GPUs in one process would each see a part of a batch whose label positions count the whole of it;
        # `accelerate launch` gives every GPU a process of its own
        if options.n_gpu > 1:
            private_apis.use_one_gpu(options)
        for dataset in (validation, replay):
            if dataset is not None:
                dataset.fill_up(options.world_size * options.per_device_eval_batch_size)
        patience = settings.watch.early_stopping_patience
        hardware.use_flash_attention(model)
        fixed = settings.schedule.torch_compile or hardware.flash_attention(model)
        return CodeTrainer(
            model=model,
            args=options,
            train_dataset=train,
            eval_dataset=validation,
            replay=replay,
            held_out=held_out,
            data_collator=Collator(train, model.config.get_text_config().hidden_size, fixed),
            optimizer_factory=trainer_settings.optimizer_factory(settings),
            callbacks=[
                callbacks.SaveByTime(settings.watch.save_minutes),
                *([EarlyStoppingCallback(patience)] if patience else []),
            ],
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"the Trainer refuses these settings: {first_line(error)}; see --help.") from None
