"""A damaged or foreign file ends in success or in one sentence, whatever is wrong with it: by mutation, at every door.

`CODEFIT_MUTATIONS=1000` tries more of each kind than the few that every run of the tests does.
"""

import contextlib
import os
import shutil
import signal
import zlib

import pytest

import benchmarking
import complete
import merge_lora
import preprocess_data
import train
from codefit import records
from codefit.errors import UserError
from tests.support import benchmark, mutations, texts
from tests.support.training import command

TRIED = int(os.environ.get("CODEFIT_MUTATIONS", "30"))
FIRST = int(os.environ.get("CODEFIT_MUTATIONS_FROM", "0"))
SECONDS = 60  # in which a door must have answered


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, an adapter, a merged model, a finished benchmark and a stopped training, with all the files of each."""
    root = benchmark.make(tmp_path_factory.mktemp("made"))
    with pytest.MonkeyPatch.context() as patch:
        benchmark.compute_in_float32(patch)
        benchmark.run(root, root / "report", "--sample", "2")
    for name in ("base", "adapter"):
        (root / name / "special_tokens_map.json").write_text('{"eos_token": {"content": "<|endoftext|>"}}')
        (root / name / "added_tokens.json").write_text('{"<|endoftext|>": 256}')
    model = complete_model(root / "base")
    model.save_pretrained(root / "sharded", max_shard_size="20KB")
    for file in (root / "base").iterdir():
        if not (root / "sharded" / file.name).exists() and file.suffix == ".json":
            shutil.copy(file, root / "sharded")
    assert (root / "sharded" / "model.safetensors.index.json").is_file()
    return root


def complete_model(folder):
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def try_completing(root):
    complete.main(["--hf_repository", str(root), "--prompt", "def f(", "--max_new_tokens", "2"])


def try_adapter(root):
    try_completing(root)
    merge_lora.main(["--hf_repository", str(root), "--dry_run"])


def try_rescoring(root):
    benchmarking.main(["--output_dir", str(root), "--rescore", "--dry_run"])
    from codefit.evaluation import comparison
    from codefit.evaluation.report import results

    run = results.read(root)
    scored = {n: {r: comparison.score_items(i) for r, i in found.items()} for n, found in run.predictions.items()}
    about = run.about
    comparison.scores(scored, about.models, about.benchmarks, run.stored, about.arguments.seed)


def try_scores(root):
    adapter = root.parent.parent / "made" / "adapter"
    merge_lora.main(["--hf_repository", str(adapter), "--dry_run", "--scores", str(root)])


def try_asking(root):
    """Plan a benchmark of an adapter."""
    benchmarking.main(["--hf_repository", str(root), "--output_dir", str(root.parent / "out"), "--dry_run"])


def try_training(root):
    data = root.parent.parent / "made" / "data"
    train.main(command(root, data, root.parent / "trained", "--max_steps", "1", "--dry_run"))


def try_preparing(root):
    source = root.parent / "documents.jsonl"
    rows = [records.Document(path.read_text(), f"{path.stem}.py", language="python") for path in texts.SOURCES]
    records.write_jsonl(source, rows[:4])
    words = ["--input", str(source), "--output", str(root.parent / "prepared"), "--model_name_or_path", str(root)]
    preprocess_data.main([*words, "--num_workers", "1", "--overwrite"])


DOORS = [
    ("base", "config.json", try_completing),
    ("base", "config.json", try_training),
    ("base", "generation_config.json", try_completing),
    ("base", "model.safetensors", try_completing),
    ("base", "tokenizer.json", try_completing),
    ("base", "tokenizer.json", try_preparing),
    ("base", "tokenizer_config.json", try_completing),
    ("base", "special_tokens_map.json", try_completing),
    ("base", "added_tokens.json", try_completing),
    ("sharded", "model.safetensors.index.json", try_completing),
    ("adapter", "adapter_config.json", try_adapter),
    ("adapter", "adapter_model.safetensors", try_adapter),
    ("adapter", "manifest.json", try_adapter),
    ("adapter", "manifest.json", try_asking),
    ("report", "manifest.json", try_rescoring),
    ("report", "predictions-adapted-heldout.jsonl", try_rescoring),
    ("report", "baselines-heldout.jsonl", try_rescoring),
    ("report", "scores.json", try_scores),
]


@contextlib.contextmanager
def deadline(seconds):
    def end(number, frame):
        raise TimeoutError(f"no answer after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("folder", "file", "door"), DOORS, ids=[f"{d[0]}-{d[1]}-{d[2].__name__[4:]}" for d in DOORS])
def test_a_damaged_file_is_success_or_one_sentence(made, tmp_path, folder, file, door, capfd):
    content = (made / folder / file).read_bytes()
    if not (tmp_path / "made").exists():
        os.symlink(made, tmp_path / "made")
    sentences = []
    for number in range(FIRST, FIRST + TRIED):
        seed = zlib.crc32(f"{folder}/{file}/{number}".encode())
        root = tmp_path / "tried" / folder
        shutil.rmtree(root.parent, ignore_errors=True)
        shutil.copytree(made / folder, root)
        (root / file).write_bytes(mutations.damaged(content, seed))
        try:
            with deadline(SECONDS):
                door(root)
        except UserError as error:
            sentences.append(str(error))
        except BaseException as error:
            (tmp_path / "culprit").write_bytes((root / file).read_bytes())
            raise AssertionError(f"mutation {number} of {file}: {type(error).__name__}: {error}") from error
        capfd.readouterr()
    assert sentences, "no damage at all was seen"
    assert [text for text in sentences if "\n" in text or text[-1:] not in ".?"] == []
