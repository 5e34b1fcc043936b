"""The trainer: packed samples that cannot attend to each other, logits only where there are labels, exact resume.

Isolation needs no special attention kernel: where `position_ids` restart and no attention mask is given, Transformers
builds a block-diagonal mask with every backend. An all-ones mask would let packed samples attend to each other. In an
architecture that cannot isolate them (codefit/training/sample_isolation.py), a row holds one sample. FlashAttention
also separates samples by their positions, but only in a batch of one row; there, all rows are joined into one.
"""

import contextlib
import dataclasses
import gc
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, ProgressCallback, Trainer

from codefit import console, distributed, private_apis
from codefit.encoding import IGNORE
from codefit.errors import UserError, first_line
from codefit.modeling import hardware, osf
from codefit.training import callbacks, curriculum, packing, run_folder, trainer_settings
from codefit.training.heldout_eval import HeldOut
from codefit.training.label_loss import LabelOnlyHead, token_loss
from codefit.training.own_loss import OrderByOwnLoss
from codefit.training.packing import Collator, PackedRows
from codefit.training.prediction_log import PredictionLog
from codefit.training.profiling import ProfileSteps
from codefit.training.settings import TrainSettings

TOP = 5  # about as many suggestions as an editor shows
NAMED = 8  # samples of a batch that a message lists


class CodeTrainer(Trainer):
    """The Hugging Face Trainer with label-only logits, a validation loss that is a mean over tokens, and predictions.

    Args:
        optimizer_factory: makes the optimizer for the model; the Trainer's own when None.
        replay: validation rows of the replay data set, for measuring forgetting.
        held_out: pairs that are completed at every validation.
        options: arguments of the Trainer.
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
        self.predictions = PredictionLog(Path(str(self.args.output_dir)), held_out.pairs if held_out else [])
        self.row_tokens: int = options["train_dataset"].row_tokens
        # a compiled graph needs the same shapes in every step; a model from scratch has a label on every token anyway
        self.head = None if self.args.torch_compile else LabelOnlyHead(self.model)
        self.end_to_end = hardware.flash_attention(self.model) and options["train_dataset"].isolates
        self.rescued = False  # whether memory ran out once, and less of it is used since
        self.batches_of_step: list[dict[str, Any]] = []
        self.losses_of_step: list[torch.Tensor] = []
        self.step_is_over = False
        self.remove_callback(ProgressCallback)
        self.narrator = callbacks.Narrator()
        self.add_callback(self.narrator)
        self.stop = callbacks.StopOnSignal()
        self.add_callback(self.stop)
        self.losses = callbacks.ContinueLosses(self)
        self.add_callback(self.losses)
        self.add_callback(self.predictions)
        self.order: OrderByOwnLoss | None = None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Return the optimizer of `optimizer_factory` where one is given (from scratch, LoRA+), else the Trainer's."""
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
        """Save a checkpoint, and write its checksums when all processes have written their part."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        checkpoint = run_folder.checkpoint_of(Path(str(self.args.output_dir)), self.state.global_step)
        self.losses.keep(checkpoint)
        if self.order is not None:
            self.order.keep(checkpoint)
        if self.args.should_save:
            run_folder.seal(checkpoint)

    # ------------------------------------------------------------------------------------------ a step

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Add the gradients of a batch; the first time that memory runs out, continue with less of it.

        Returns the loss of the batch in nats, shape (), float32.

        Raises:
            UserError: memory runs out a second time, or on one of several processes.
        """
        if self.step_is_over:
            self.batches_of_step, self.losses_of_step = [], []
        self.batches_of_step.append(inputs)
        loss = None
        try:
            loss = self._add_gradients(model, inputs, num_items_in_batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if loss is None:  # outside of the except block, since the error keeps tensors in memory
            loss = self._rescue(model, num_items_in_batch)
        self.losses_of_step.append(loss)
        self.step_is_over = self.accelerator.sync_gradients
        return loss

    def _add_gradients(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
        """Return the loss of a batch in nats, shape (), after its backward pass.

        Once memory ran out, it is computed row by row, with the same sum.
        """
        if not self.rescued:
            return super().training_step(model, inputs, num_items_in_batch)
        count = min(len(inputs["input_ids"]), self.args.per_device_train_batch_size)
        split = {name: tensor.tensor_split(count) for name, tensor in inputs.items()}
        parts = [{name: tensors[part] for name, tensors in split.items()} for part in range(count)]
        losses = [super(CodeTrainer, self).training_step(model, part, num_items_in_batch) for part in parts]
        return torch.stack(losses).sum()

    def _rescue(self, model: Any, num_items_in_batch: Any) -> torch.Tensor:
        """Compute the gradients of this optimizer step again with less memory.

        Returns the loss of the last batch in nats, shape ().
        """
        rows = self.args.per_device_train_batch_size
        if self.rescued or self.args.world_size > 1 or (rows == 1 and self.args.activation_checkpointing):
            raise UserError(self._out_of_memory())
        self.rescued = True
        console.show(
            f"out of memory at step {self.state.global_step + 1}: continuing with activation checkpointing "
            f"and {rows} x 1 row instead of {rows} at once; the effective batch size stays the same.",
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
        """Return the error message, with the flags that have not been tried yet."""
        rows, accumulation = self.args.per_device_train_batch_size, self.args.gradient_accumulation_steps
        flags = ["--per_device_train_batch_size 1", f"--gradient_accumulation_steps {rows * accumulation}"]
        flags += ["--activation_checkpointing"]
        if self.rescued or (rows == 1 and self.args.activation_checkpointing):
            flags += [f"--max_length {self.row_tokens // 2}"]
            adapter = hasattr(self.model, "peft_config") and not osf.is_split(self.model)
            if adapter and not getattr(self.model, "is_loaded_in_4bit", False):
                flags += ["--load_in_4bit"]
        step = self.state.global_step + 1
        return f"out of memory at step {step}; run the command again with {' '.join(flags)} --overwrite."

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Return the norm of the gradients before clipping: a float, or a tensor of shape ().

        Raises:
            UserError: a loss or the norm is not finite: the step would spoil the weights.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        losses = [float(loss) for loss in torch.stack(self.losses_of_step).tolist()]
        bad = [at for at, loss in enumerate(losses) if not math.isfinite(loss)]
        scales = self.accelerator.scaler is not None  # then gradients may be infinite: the scaler skips such steps
        if bad or not (scales or math.isfinite(float(norm))):
            what = f"loss is {losses[bad[0]]}" if bad else f"norm of the gradients is {float(norm)}"
            batches = [self.batches_of_step[at] for at in bad] or self.batches_of_step
            raise UserError(
                f"the {what} at step {self.state.global_step + 1}, in the batch of {self._samples_in(batches)}; lower "
                "--learning_rate or --max_grad_norm and add --overwrite, or run again from the last checkpoint."
            )
        return norm

    def _samples_in(self, batches: list[dict[str, Any]]) -> str:
        dataset: Any = self.train_dataset
        names = [name for batch in batches for name in packing.names_in(batch, dataset.samples)]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ", ".join(names[:NAMED]) + more if names else "unknown samples"

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, without the speeds that are wrong after a resume."""
        for speed in ("train_samples_per_second", "train_steps_per_second"):
            logs.pop(speed, None)
        super().log(logs, start_time)

    # ------------------------------------------------------------------------------------------ the loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss: the sum over the labels, weighted where samples have weights of their own, divided by the
        number of labels of the whole optimizer step.
        """
        outputs = self._forward(model, inputs, num_items_in_batch, self.args.label_smoothing_factor)
        loss = outputs.loss
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _forward(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any, smoothing: float = 0.0) -> Any:
        if self.end_to_end:
            inputs = {name: tensor.reshape(1, -1) for name, tensor in inputs.items()}
        labels, weights = inputs["shift_labels"], inputs.get("weights")
        chosen: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.head is not None:
            positions = (labels.flatten() != IGNORE).nonzero().squeeze(1)
            labels = labels.flatten()[positions]
            weights = None if weights is None else weights.flatten()[positions]
            chosen = self.head.only(positions)
        given = {"input_ids": inputs["input_ids"], "position_ids": inputs["position_ids"], "use_cache": False}
        with chosen:
            if not smoothing and weights is None:
                return model(**given, labels=labels, shift_labels=labels, num_items_in_batch=num_items_in_batch)
            outputs = model(**given)
        outputs.loss = token_loss(outputs.logits, labels, weights, smoothing, num_items_in_batch)
        return outputs

    @torch.no_grad()
    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return loss in nats per label token, perplexity, bits per byte and top-k accuracy over validation samples.

        Top-k accuracy is the share of label tokens among the model's k likeliest tokens; `accuracy` is k = 1. With a
        replay data set there is also the loss on it, with held-out pairs also the scores of the predictions.
        """
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        # sharded weights are gathered only when the wrapper is called
        sharded = self.is_fsdp_enabled
        model = self.model_wrapped if sharded else self.accelerator.unwrap_model(self.model, keep_torch_compile=True)
        was_training = model.training
        model.eval()
        nats, tokens, first, among = self._totals(model, dataset)
        metrics = {
            f"{metric_key_prefix}_loss": nats / tokens,
            f"{metric_key_prefix}_perplexity": math.exp(min(nats / tokens, 700)),  # the largest float is about e^709
            f"{metric_key_prefix}_bits_per_byte": nats / math.log(2) / dataset.label_bytes,
            f"{metric_key_prefix}_accuracy": first / tokens,
            f"{metric_key_prefix}_top_{TOP}_accuracy": among / tokens,
        }
        if self.replay is not None:
            nats, tokens, *_ = self._totals(model, self.replay)
            metrics[f"{metric_key_prefix}_replay_loss"] = nats / tokens
        if self.held_out is not None:
            texts = self._predict(self.held_out, model)
            metrics |= {f"{metric_key_prefix}_{name}": value for name, value in self.held_out.scores(texts).items()}
            if self.is_world_process_zero():
                self.predictions.add(self._step_of_weights(), texts)
        model.train(was_training)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def nats_of_rows(self, dataset: PackedRows) -> list[float]:
        """Return the loss of each row of a data set in nats per label token."""
        model, collate, found = self.accelerator.unwrap_model(self.model), self.data_collator, []
        model.eval()
        for row in dataset.rows:
            samples: Any = [[dataset.samples[at] for at in row]]
            nats, labels, *_ = self._evaluate_batch(model, self._prepare_inputs(collate(samples))).tolist()
            found.append(nats / max(labels, 1))
        model.train()
        return found

    def weights(self) -> dict[str, torch.Tensor] | None:
        """Return the state dict where weights are sharded, else None; all processes must call this.

        Its tensors are whole, in the shape and dtype that each has in the model.
        """
        return self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None

    def _totals(self, model: Any, dataset: PackedRows) -> list[float]:
        """Return the sums of `_evaluate_batch` over all batches and processes."""
        totals = torch.zeros(4, dtype=torch.float64)
        for batch in self.get_eval_dataloader(dataset):
            totals += self._evaluate_batch(model, self._prepare_inputs(batch))
        found: list[float] = self.accelerator.reduce(totals.to(self.args.device).float()).tolist()
        return found

    def _step_of_weights(self) -> int:
        """Return the step whose weights the model has: after training, those of the best one where it is kept."""
        kept = self.args.load_best_model_at_end and not self.is_in_train and self.state.best_global_step
        return int(kept or self.state.global_step)

    def _predict(self, held_out: HeldOut, model: Any) -> list[str]:
        """Return the held-out predictions. Every process generates all, as sharded weights require."""
        started = time.monotonic()
        try:
            with self.compute_loss_context_manager():
                return held_out.texts(model)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                "out of memory while completing validation prompts; lower --eval_predictions, or set it to 0."
            ) from None
        finally:
            self.predicting_seconds += time.monotonic() - started

    def _evaluate_batch(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return (summed nats, labels, labels ranked first, labels among the TOP first), shape (4,), float64."""
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
    """Wait until all processes of this training have reached this point."""
    if distributed.processes() > 1:
        PartialState(cpu=hardware.device().type == "cpu").wait_for_everyone()


def keep_sums_exact(plugin: Any) -> None:
    """Make FSDP reduce gradients and return losses in float32, as one process does; Accelerate would use bfloat16."""
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
        # with several GPUs in one process, each would get a part of a batch but the label positions of the whole;
        # `accelerate launch` starts one process per GPU
        if options.n_gpu > 1:
            private_apis.use_one_gpu(options)
        for dataset in (validation, replay):
            if dataset is not None:
                dataset.fill_up(options.world_size * options.per_device_eval_batch_size)
        patience = settings.watch.early_stopping_patience
        hardware.use_flash_attention(model)
        fixed = settings.schedule.torch_compile or hardware.flash_attention(model)
        made = CodeTrainer(
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
                *([callbacks.KeepDirections()] if osf.is_split(model) else []),
                *([ProfileSteps(work)] if settings.watch.profile else []),
            ],
        )
        if settings.curriculum.curriculum and settings.curriculum.curriculum_by == curriculum.OWN_LOSS:
            made.order = OrderByOwnLoss(made, settings.curriculum.curriculum, settings.seed)
            made.add_callback(made.order)
        return made
    except (ValueError, RuntimeError, ImportError) as error:
        raise UserError(f"the Trainer rejects these settings ({first_line(error)}); see --help.") from None
