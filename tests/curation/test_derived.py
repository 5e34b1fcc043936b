"""A data set that is made from another one keeps everything that its benchmark reads."""

from codefit.curation import derived
from codefit.manifest import Manifest


def test_everything_but_the_training_pairs_is_carried(tmp_path):
    folder, work = tmp_path / "pairs", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    names = ["validation.jsonl", "test.jsonl", "test_overlap.jsonl", "forgetting.jsonl", "documents.jsonl"]
    for name in [*names, "train.jsonl"]:
        (folder / name).write_text(f"{name}\n")
    derived.copy_others(folder, work, Manifest({}))
    assert {path.name: path.read_text() for path in work.iterdir()} == {name: f"{name}\n" for name in names}
