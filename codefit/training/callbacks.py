"""What happens beside the training steps: the bar, one line and one JSON object a log entry, stopping on a signal."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import ProgressCallback, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit.outputs import write_whole

LOG = "log.jsonl"
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
}


class Narrator(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar, with one readable line a log entry instead of a dict, and log.jsonl to follow."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the bar at the step that a resumed run starts from."""
        super().on_train_begin(args, state, control, **kwargs)
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
        """Print what is known at this step, and write the whole log, which a resumed run shortens first."""
        if not state.is_world_process_zero:
            return
        lines = (json.dumps(entry) + "\n" for entry in state.log_history)
        write_whole(Path(str(args.output_dir), LOG), "".join(lines))
        if self.training_bar is not None and logs and "train_runtime" not in logs:
            for line in describe(state.global_step, logs):
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
    """On Ctrl-C or SIGTERM, end after the step that is being computed, with a checkpoint; a second one ends at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.before: dict[signal.Signals, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen."""
        self.before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def _receive(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number)
        self._restore()
        print("\nstopping after this step, with a checkpoint; once more stops at once.", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop, on all processes at the same step."""
        stop = self.received is not None
        if args.world_size > 1:
            flag = torch.tensor(int(stop), device=args.device)
            torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
            stop = bool(flag)
        if stop:
            self.received = self.received or signal.SIGTERM
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Listen no more."""
        self._restore()
