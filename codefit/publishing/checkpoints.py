"""Checkpoints of an unfinished run on the Hub, so that another machine can continue it: `--hub_strategy checkpoint`.

The newest checkpoint is in the folder `unfinished` of the repository, with what else a run continues from. Unlike in
other pushes there are pickles among it: the state of the optimizer and of random numbers, which PyTorch's restricted
loader reads (`weights_only`). The push of the result removes the folder.
"""

import functools
import re
import shutil
from pathlib import Path

from codefit import outputs
from codefit.publishing import hub_client, push
from codefit.temporary import temporary_folder
from codefit.training import run_folder

CONTINUED = {run_folder.RECORD, run_folder.BEGINNING, run_folder.NEW_TOKENIZER}
FETCHED = re.compile(rf"(checkpoint-\d{{1,18}}|{run_folder.BEGINNING}|{run_folder.NEW_TOKENIZER})/[\w.-]+")


def push_checkpoint(folder: Path, checkpoint: str, repo_id: str, *, private: bool | None = None) -> str:
    """Push a checkpoint, in place of the previous one, and return the URL of the commit.

    Args:
        folder: the folder of the run.
        checkpoint: name of the checkpoint's folder in it.
        repo_id: `owner/name` on the Hub.
        private: as for `push.check_repository`.

    Raises:
        UserError: the push failed.
    """
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    others = [path.as_posix() for path in files if path.parts[0] not in {checkpoint, *CONTINUED}]
    return push.push_folder(
        folder,
        repo_id,
        "model",
        message=f"Training: {checkpoint}",
        private=private,
        path_in_repo=push.UNFINISHED,
        ignored=others,
        replaced=["checkpoint-*/*"],
        never=(),
    )


def fetch_checkpoint(folder: Path, repo_id: str) -> str:
    """Bring the checkpoint that is on the Hub into the folder of a run; return its name, "" where there is none.

    Raises:
        UserError: the Hub does not give it.
    """

    def download() -> str:
        api = hub_client.connect()
        listed = hub_client.patiently(lambda: api.model_info(repo_id)).siblings or []
        start = f"{push.UNFINISHED}/"
        inside = [file.rfilename.removeprefix(start) for file in listed if file.rfilename.startswith(start)]
        names = [name for name in inside if FETCHED.fullmatch(name)]
        saved = [name.partition("/")[0] for name in names if name.startswith("checkpoint-")]
        if not saved or run_folder.RECORD not in inside:
            return ""
        with temporary_folder() as aside:
            for name in [*names, run_folder.RECORD]:
                get = functools.partial(api.hf_hub_download, repo_id, f"{push.UNFINISHED}/{name}", local_dir=aside)
                hub_client.patiently(get)
            outputs.make_folder(folder, empty=True)
            for name in sorted({name.partition("/")[0] for name in names}):
                shutil.move(aside / push.UNFINISHED / name, folder / name)
            shutil.move(aside / push.UNFINISHED / run_folder.RECORD, folder / run_folder.RECORD)  # last: now it counts
        return saved[0]

    advice = "or leave out --hub_strategy to start again."
    return hub_client.explained(download, repo_id, f"cannot get the checkpoint in {repo_id}", advice)
