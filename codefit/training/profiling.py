"""The profile of a few steps of training, as a table that can be read: `--profile`."""

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit import console
from codefit.outputs import write_whole
from codefit.training import run_folder

SKIPPED = 2  # the first steps allocate memory and compile kernels
STEPS = 3
ROWS = 30  # operations in the table


class ProfileSteps(TrainerCallback):  # type: ignore[misc]
    """Measures a few steps after the first ones, and writes the operations that took longest to profile.txt."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / run_folder.PROFILE
        self.first = SKIPPED
        self.running: Any = None
        self.written = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count from the step from which a run is resumed."""
        self.first = state.global_step + SKIPPED

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start at the first step that is measured."""
        if state.global_step == self.first and state.is_world_process_zero:
            on_gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self.running = torch.profiler.profile(activities=[ProfilerActivity.CPU, *on_gpu])
            self.running.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop after the last step that is measured."""
        if self.running is not None and state.global_step >= self.first + STEPS:
            self._write(state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write what a short run has measured."""
        if self.running is not None:
            self._write(state.global_step)
        elif not self.written and state.is_world_process_zero:
            console.show(f"note: --profile measures the steps after the first {SKIPPED}, and this run had no more")

    def _write(self, step: int) -> None:
        self.running.stop()
        key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        averages = self.running.key_averages()
        seconds = sum(getattr(event, key) for event in averages) / 1e6
        table = averages.table(sort_by=key, row_limit=ROWS, max_name_column_width=60)
        head = f"steps {self.first + 1} to {step}: {seconds:.2f} s in operations; the {ROWS} that took longest:\n\n"
        write_whole(self.path, head + table + "\n")
        self.running, self.written = None, True
