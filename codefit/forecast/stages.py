"""The stages of a forecast: each is a script of codefit, run as its own process with a command that can be repeated."""

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from codefit import console
from codefit.errors import UserError
from codefit.forecast.learning_curve import SHORT, SHORTER
from codefit.forecast.start import Start
from codefit.manifest import ROOT

ROW_TOKENS = 1024  # most tokens of a step
FOLDER = "forecast"  # of the answer, in the folder of all stages
TEST = "test.jsonl"  # the later changes, in the data set
NEW_TOKENS = 64  # of a completion
VALIDATED = 8  # validation pairs of a short run; what they cost is not training


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a forecast is about.

    Attributes:
        repository: with the history.
        model: the base.
        start: how the history is divided.
        subfolder: only files in it are read; "" for all.
        folder: of everything that the stages write.
        steps: of the training that is forecast.
        prompts: later changes that are asked about now.
        own_tokens: of a prompt, before the cursor.
        file_tokens: of retrieved files before a prompt.
        row_tokens: of a training step.
        seed: of the sample of prompts.
    """

    repository: str
    model: str
    start: Start
    subfolder: str
    folder: Path
    steps: int
    prompts: int
    own_tokens: int
    file_tokens: int
    row_tokens: int
    seed: int

    @property
    def raw(self) -> Path:
        """The documents."""
        return self.folder / "raw.jsonl"

    @property
    def pairs(self) -> Path:
        """The prepared data set."""
        return self.folder / "pairs"

    def adapter(self, part: int) -> Path:
        """The adapter after a part of the steps, 1 / `part`."""
        return self.folder / f"adapter-{part}"

    @property
    def measured(self) -> Path:
        """The benchmark after a quarter of the steps."""
        return self.folder / "measured"

    def commands(self) -> Iterator[list[str]]:
        """Yield the commands of all stages in order."""
        yield self.parse()
        yield self.preprocess()
        for part in (SHORTER, SHORT):
            yield self.train(self.adapter(part), self.steps // part)
        yield self.grid(self.adapter(SHORT), self.measured, self.prompts)

    def parse(self) -> list[str]:
        """Return the command of stage 1."""
        part = ["--subfolder", self.subfolder] if self.subfolder else []
        words = ["--repository", self.repository, "--language", *self.start.languages, *part]
        return ["parse_data.py", *words, "--history", self.start.since, "--output", str(self.raw)]

    def preprocess(self) -> list[str]:
        """Return the command of stage 2."""
        words = ["--input", str(self.raw), "--output", str(self.pairs), "--model_name_or_path", self.model]
        return ["preprocess_data.py", *words, "--max_prompt_tokens", str(self.own_tokens)]

    def train(self, output: Path, steps: int) -> list[str]:
        """Return the command of a training run of so many steps."""
        words = ["--dataset", str(self.pairs), "--model_name_or_path", self.model, "--output_dir", str(output)]
        sizes = ["--max_steps", str(steps), "--max_length", str(self.row_tokens), "--per_device_train_batch_size", "1"]
        watch = ["--validation_samples", str(VALIDATED), "--eval_steps", "100000", "--eval_predictions", "0"]
        return ["train.py", *words, *sizes, *watch]

    def grid(self, adapter: Path, output: Path, prompts: int) -> list[str]:
        """Return the command of a benchmark with all four cells."""
        words = [str(adapter), "--benchmark", str(self.pairs / TEST), "--sample", str(prompts)]
        tokens = ["--max_new_tokens", str(NEW_TOKENS), "--repository_context", str(self.file_tokens)]
        return ["benchmarking.py", *words, *tokens, "--seed", str(self.seed), "--output_dir", str(output)]


def run(command: Sequence[str]) -> None:
    """Run a stage.

    Args:
        command: the script, and its arguments.

    Raises:
        UserError: it failed; its own error is above on the terminal.
    """
    console.show(f"\n$ {shown(command)}", flush=True)
    code = subprocess.run([sys.executable, str(ROOT / command[0]), *command[1:]]).returncode
    if code:
        raise UserError(
            f"{command[0]} ended with exit code {code}, and its message is above; run the same forecast again to "
            "continue with this stage."
        )


def shown(command: Sequence[str]) -> str:
    """Return a command as a shell takes it."""
    return shlex.join(["python", *command])
