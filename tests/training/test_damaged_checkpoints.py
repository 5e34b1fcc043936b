"""A damaged record or checkpoint of a stopped run: an older checkpoint is used, or the error says what to do."""

import json
import os
import random

import pytest

from codefit.errors import UserError
from codefit.training import run_folder
from tests.support import mutations

TRIED = int(os.environ.get("CODEFIT_MUTATIONS", "30"))
STATE = {"global_step": 2, "max_steps": 4, "epoch": 0.5, "log_history": [{"loss": 1.5, "step": 1}], "best_metric": None}


@pytest.fixture
def stopped(tmp_path):
    """The folder of a run with two checkpoints."""
    for step in (1, 2):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        (checkpoint / "trainer_state.json").write_text(json.dumps(STATE | {"global_step": step}))
        (checkpoint / "adapter_model.safetensors").write_bytes(random.Random(step).randbytes(100))
        run_folder.seal(checkpoint)
    (tmp_path / "checkpoint-of-mine").mkdir()
    return tmp_path


@pytest.mark.parametrize("file", ["complete.json", "trainer_state.json"])
def test_a_damaged_checkpoint_is_skipped_for_an_older_one(stopped, file, capsys):
    damaged = stopped / "checkpoint-2" / file
    content = damaged.read_bytes()
    found = set()
    for number in range(TRIED):
        damaged.write_bytes(mutations.damaged(content, number))
        found.add(run_folder.last(stopped).name)
        assert "Traceback" not in capsys.readouterr().err
    assert "checkpoint-1" in found
    damaged.write_bytes(content)
    assert run_folder.last(stopped).name == "checkpoint-2"


def test_a_trainer_state_with_wrong_types_counts_as_damaged(stopped):
    damaged = stopped / "checkpoint-2" / "trainer_state.json"
    damaged.write_bytes(damaged.read_bytes().replace(b'"global_step": 2', b'"global_step":""'))
    assert run_folder.damage(stopped / "checkpoint-2") == "trainer_state.json is damaged"


def test_a_damaged_record_of_arguments_is_refused(tmp_path):
    record = tmp_path / run_folder.RECORD
    content = b'{"seed": "0", "dataset": "data", "learning_rate": "0.001"}'
    refused = 0
    for number in range(TRIED):
        record.write_bytes(mutations.damaged(content, number))
        try:
            run_folder.read_record(record, overwrite=False)
        except UserError as error:
            assert "--overwrite" in str(error)  # noqa: PT017
            refused += 1
            assert run_folder.read_record(record, overwrite=True) == {}
    assert refused
