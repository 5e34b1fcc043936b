"""What several test files need: a tiny tokenizer and base model, a small prepared data set, and no network."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # tiny tensors: threads would only wait for each other
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

from pathlib import Path

import pytest

from codefit.records import Pair, write_jsonl

# A frozen text, so that a change of codefit itself changes no token ids here.
SOURCES = sorted((Path(__file__).parent / "data" / "source").glob("*.txt"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep predictions of the tests out of the user's cache, and the user's out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODEFIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from codefit.training import scratch

    return scratch.train_tokenizer((path.read_text() for path in SOURCES), 600, 512)


@pytest.fixture(scope="session")
def tiny_base(tiny_tokenizer, tmp_path_factory):
    """A folder with a random two-layer Llama and its tokenizer."""
    import torch

    from codefit.training import scratch

    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = scratch.new_model(
        tiny_tokenizer, hidden_size=32, layers=2, heads=2, intermediate_size=64, context=512, std=0.2
    )
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with a small data set for the completion task, cut from codefit's own lines."""
    folder = tmp_path_factory.mktemp("prepared")
    lines = [line for path in SOURCES for line in path.read_text().splitlines(keepends=True) if len(line) > 30]
    pairs = [
        Pair(
            id=f"{number}",
            task="completion",
            prompt="".join(lines[number : number + 3]) + lines[number + 3][:15],
            completion=lines[number + 3][15:].rstrip("\n"),
            finish_reason="stop" if number % 4 else "length",
            path=f"file{number // 7}.py",
            language="python",
        )
        for number in range(0, 240, 3)
    ]
    write_jsonl(folder / "train.jsonl", pairs[:60])
    write_jsonl(folder / "validation.jsonl", pairs[60:70])
    write_jsonl(folder / "test.jsonl", pairs[70:])
    return folder
