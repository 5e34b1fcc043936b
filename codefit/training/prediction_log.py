"""What the model wrote at every validation: predictions.jsonl, and predictions.html with the first prompts.

Both are in the output folder. They hold text of the validation data, and are therefore never pushed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit import outputs
from codefit.errors import UserError
from codefit.page.rendering import render
from codefit.records import Pair
from codefit.scoring.text_diff import differing
from codefit.training import run_folder

PROMPT_TAIL = 300  # characters of a prompt that are kept; its id finds the whole
ON_THE_PAGE = 3  # prompts


class KeptPrediction(msgspec.Struct):
    """A line of predictions.jsonl."""

    step: Annotated[int, msgspec.Meta(ge=0)]
    id: str
    prompt: str  # its end
    reference: str
    text: str


class PredictionLog(TrainerCallback):  # type: ignore[misc]
    """Keeps the predictions of every validation; a resumed run drops those after its checkpoint.

    Args:
        folder: the folder of the run.
        pairs: the pairs that are completed, the same at every validation.
    """

    def __init__(self, folder: Path, pairs: Sequence[Pair]) -> None:
        self.folder = folder
        self.pairs = pairs
        self.kept: list[KeptPrediction] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read what a resumed run had kept up to its checkpoint."""
        if state.global_step and state.is_world_process_zero:
            self.kept = [entry for entry in read(self.folder) if entry.step <= state.global_step]
            if self.kept:  # the page is not kept, and no validation may follow
                self._write()

    def add(self, step: int, texts: Sequence[str]) -> None:
        """Keep the predictions of a step and write both files; what is kept of a step is not replaced."""
        if any(entry.step == step for entry in self.kept):
            return
        self.kept += [
            KeptPrediction(step, pair.id, pair.prompt[-PROMPT_TAIL:], pair.completion, text)
            for pair, text in zip(self.pairs, texts, strict=True)
        ]
        self._write()

    def _write(self) -> None:
        lines = (json.dumps(msgspec.to_builtins(entry), ensure_ascii=False) + "\n" for entry in self.kept)
        outputs.write_whole(self.folder / run_folder.PREDICTIONS, "".join(lines))
        outputs.write_whole(self.folder / run_folder.PREDICTIONS_PAGE, page(self.kept))


def read(folder: Path) -> list[KeptPrediction]:
    """Return the predictions that a run has kept, [] where there are none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / run_folder.PREDICTIONS
    if not path.is_file():
        return []
    try:
        return [msgspec.json.decode(line, type=KeptPrediction) for line in path.read_bytes().splitlines()]
    except msgspec.MsgspecError as error:
        raise UserError(f"{path} is damaged ({error}); remove it, and run the command again.") from None


def page(kept: Sequence[KeptPrediction]) -> str:
    """Return the page: how the predictions for the first prompts change over the steps."""
    prompts: dict[str, list[KeptPrediction]] = {}
    for entry in kept:
        prompts.setdefault(entry.id, []).append(entry)
    return render(
        Path(__file__).parent,
        "predictions.html",
        title="Predictions during training – codefit",
        prompts=[
            {
                "id": entries[0].id,
                "prompt": entries[0].prompt,
                "reference": entries[0].reference,
                "rows": [(entry.step, differing(entry.text, entry.reference)) for entry in entries],
            }
            for entries in list(prompts.values())[:ON_THE_PAGE]
        ],
    )
