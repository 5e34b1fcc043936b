"""Callbacks of the Trainer: progress bar and log, checkpoints by time, stopping on a signal, losses of resumed runs."""

import contextlib
import json
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit import console, private_apis
from codefit.errors import UserError
from codefit.modeling import osf
from codefit.outputs import write_whole

LOG = "log.jsonl"
TIMED_STEPS = 3  # after the first, from which the time of the others is estimated
LOG_LABELS = {
    "loss": "loss {:.4f}",
    "grad_norm": "gradient norm {:.3f}",
    "learning_rate": "learning rate {:.2e}",
    "eval_loss": "validation loss {:.4f}",
    "eval_bits_per_byte": "bits per byte {:.4f}",
    "eval_perplexity": "perplexity {:.4g}",
    "eval_accuracy": "next-token accuracy {:.3f}",
    "eval_top_5_accuracy": "top-5 {:.3f}",
    "eval_replay_loss": "replay loss {:.4f}",
    "eval_edit_similarity": "edit similarity {:.1f} %",
    "eval_exact_match": "exact match {:.1f} %",
    "eval_next_line": "next line {:.1f} %",
    "eval_naming_f1": "name F1 {:.1f} %",
    "eval_chrf": "chrF {:.1f} %",
    "eval_rouge_l": "ROUGE-L {:.1f} %",
}


class KeepDirections(TrainerCallback):  # type: ignore[misc]
    """Keeps the directions that OSF protects exactly as they are."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Project the trained part after the step."""
        osf.project(kwargs["model"])


class Narrator(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar, with a readable line per log entry instead of a dict, and log.jsonl."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar, at the step from which a run is resumed."""
        self.current_step = state.global_step
        self.first_step = state.global_step + 1  # it also loads libraries and allocates memory
        self.began, self.durations = 0.0, list[float]()
        if state.is_world_process_zero:
            bar = console.bar("train", state.max_steps)
            bar.update(state.global_step)
            self.training_bar = bar

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note when the step began."""
        self.began = time.monotonic()

    @property
    def seconds_per_step(self) -> float | None:
        """The median time of the steps after the first, by the clock and without validation; None for one step."""
        return statistics.median(self.durations) if self.durations else None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar; after the first steps, say how long the rest takes at their speed."""
        super().on_step_end(args, state, control, **kwargs)
        if state.global_step > self.first_step:
            self.durations.append(time.monotonic() - self.began)
        left = state.max_steps - state.global_step
        if len(self.durations) == TIMED_STEPS and left > TIMED_STEPS and self.training_bar is not None:
            each = statistics.fmean(self.durations)
            self.training_bar.write(
                f"{console.seconds(each)} a step; about {console.duration(each * left)} for the other {left} steps, "
                "without validation"
            )

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Show the progress of a validation on a terminal; in a pipe its result is enough."""
        if state.is_world_process_zero and sys.stderr.isatty():
            self.prediction_bar = self.prediction_bar or console.bar("validate", len(eval_dataloader), leave=False)
            super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print this log entry, and write the whole log: a resumed run drops entries after its checkpoint."""
        if not state.is_world_process_zero:
            return
        lines = (json.dumps(entry, sort_keys=True) + "\n" for entry in state.log_history)
        write_whole(Path(str(args.output_dir), LOG), "".join(lines))
        if self.training_bar is not None and logs and "train_runtime" not in logs:
            for line in describe(state.global_step, logs, console.width()):
                self.training_bar.write(line)


def describe(step: int, logs: dict[str, Any], width: int = 100) -> list[str]:
    """Return a log entry of the Trainer as lines of at most `width` columns."""
    known = [form.format(float(logs[name])) for name, form in LOG_LABELS.items() if name in logs]
    lines = [f"step {step}:"]
    for number, part in enumerate(known):
        part += "," if number + 1 < len(known) else ""
        if len(lines[-1]) + 1 + len(part) > width:
            lines.append(" " * len(f"step {step}:"))
        lines[-1] += " " + part
    return lines


class StopOnSignal(TrainerCallback):  # type: ignore[misc]
    """On Ctrl-C, SIGTERM or a closed terminal, stop after this step with a checkpoint; a second signal ends at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.saved_step = 0
        self.before: dict[signal.Signals, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Install the handlers, except for signals that the process ignores (nohup ignores SIGHUP)."""
        self.saved_step = state.global_step
        heard = [number for number in self.SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self.before = {number: signal.signal(number, self._receive) for number in heard}

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remember the step of the last checkpoint."""
        self.saved_step = state.global_step

    def _receive(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number)
        self._restore()
        kept = f"with the checkpoint of step {self.saved_step}" if self.saved_step else "without a checkpoint"
        with contextlib.suppress(OSError):  # the terminal may be closed
            console.show(
                f"\nstopping after this step, with a checkpoint; a second signal stops at once, {kept}.",
                file=sys.stderr,
                flush=True,
            )

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop, on all processes at the same step."""
        if on_any_process(self.received is not None, args):
            self.received = self.received or signal.SIGTERM
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the earlier handlers."""
        self._restore()


class SaveByTime(TrainerCallback):  # type: ignore[misc]
    """Saves a checkpoint after the first step that ends when the last checkpoint is `minutes` old."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.since = time.monotonic()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.since = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Restart the clock."""
        self.since = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save, on all processes at the same step."""
        if on_any_process(time.monotonic() - self.since >= self.seconds, args):
            control.should_save = True


class PushCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Pushes every checkpoint. A push that fails is a note: the next one may succeed, and the run is on the disk.

    Args:
        push: pushes the checkpoint of this name.
    """

    def __init__(self, push: Callable[[str], str]) -> None:
        self.push = push

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Push, from one process."""
        if not state.is_world_process_zero:
            return
        try:
            self.push(f"checkpoint-{state.global_step}")
        except UserError as error:
            console.show(
                f"note: the checkpoint of step {state.global_step} is not on the Hub: {error}", file=sys.stderr
            )


def on_any_process(wanted: bool, args: TrainingArguments) -> bool:
    """Return whether `wanted` is true on any process; all processes must call this at the same step."""
    if args.world_size == 1:
        return wanted
    flag = torch.tensor(int(wanted), device=args.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)


class ContinueLosses(TrainerCallback):  # type: ignore[misc]
    """Restores the running sums of the loss, which the Trainer does not save in its checkpoints.

    Without them, the first loss that a resumed run logs, and its mean over the run, cover only the resumed steps.
    """

    FILE = "losses.json"

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.checkpoint: Path | None = None

    def keep(self, checkpoint: Path) -> None:
        """Write the sums into a checkpoint. All processes must call this: what is saved is their mean."""
        sums = private_apis.sums_of_losses(self.trainer)
        if self.trainer.args.should_save:
            (checkpoint / self.FILE).write_text(json.dumps(sums), encoding="utf-8")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the sums from the checkpoint."""
        if self.checkpoint is None:
            return
        sums = json.loads((self.checkpoint / self.FILE).read_text(encoding="utf-8"))
        private_apis.continue_losses(self.trainer, sums)
