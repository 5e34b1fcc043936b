"""The held-out pairs of a prepared data set: the files that training never saw."""

from pathlib import Path

from codefit.errors import UserError
from codefit.records import DOCUMENTS, Pair, read_jsonl


def load(dataset_dir: Path, split: str = "test") -> list[Pair]:
    """Return the pairs of `<dataset_dir>/<split>.jsonl`: test, validation, test_overlap or train.

    Raises:
        UserError: the folder or the split is missing, has no pairs, or a line is broken.
    """
    path = dataset_dir / f"{split}.jsonl"
    if not path.is_file():
        files = {file.name: file.stem for file in dataset_dir.glob("*.jsonl")}
        have = ", ".join(sorted(stem for name, stem in files.items() if name != DOCUMENTS)) or "no splits"
        raise UserError(f"there is no split {split!r} in {dataset_dir} (it has {have}); run preprocess_data.py first.")
    pairs = list(read_jsonl(path, Pair))
    if not pairs:
        raise UserError(f"{path} has no pairs; prepare the data set from more files, or change the split.")
    return pairs
