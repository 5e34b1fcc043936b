"""Fixtures of several folders: tiny models, prepared data, a corpus for stage 2; and no network for any test."""

import gc
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # tiny tensors: threads would only wait for each other
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

import pytest

from codefit import manifest
from codefit.records import Pair, write_jsonl

pytest.register_assert_rewrite("tests.support")


def pytest_collection_finish():
    """Leave the tests themselves out of every collection of garbage that a training asks for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep predictions of the tests out of the user's cache, and the user's out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODEFIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_commit():
    """Ask git once for the commit of codefit, not in every run of a stage."""
    with pytest.MonkeyPatch.context() as patch:
        commit = manifest.toolkit_commit()
        patch.setattr(manifest, "toolkit_commit", lambda: commit)
        yield


@pytest.fixture(scope="session", autouse=True)
def drawing():
    """Write what a plot shows instead of drawing it, which takes a third of a short training; yield what draws."""
    from matplotlib.figure import Figure

    def sketch(figure, path, **_):
        lines = [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]
        Path(path).write_bytes(b"\x89PNG\r\n\x1a\n" + repr(lines).encode())

    with pytest.MonkeyPatch.context() as patch:
        draw = Figure.savefig
        patch.setattr(Figure, "savefig", sketch)
        yield draw


@pytest.fixture
def drawn(drawing, monkeypatch):
    """Draw the plots of a test."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", drawing)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from codefit.training import scratch
    from tests.support.texts import SOURCES

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
    """A folder with a small data set for the completion task, cut from lines of the frozen text."""
    from tests.support.texts import SOURCES

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


# ---------------------------------------------------------------------------------------------- stage 2


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    """A folder with a tokenizer for the corpus of tests/support/corpus.py."""
    import tokenizers

    from tests.support.corpus import kotlin_file

    folder = tmp_path_factory.mktemp("vocabulary")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([kotlin_file(n) for n in range(20)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def source(tmp_path):
    """A file with the corpus, duplicates and files without use among it."""
    from tests.support.corpus import EXTRA, documents

    write_jsonl(tmp_path / "documents.jsonl", documents(extra=EXTRA))
    return tmp_path / "documents.jsonl"


@pytest.fixture
def prepare(tmp_path, vocabulary):
    """A function that runs stage 2 on a source and returns its output folder."""
    import preprocess_data

    def run(source, *words, output="out"):
        words = ["--input", *map(str, source if isinstance(source, list) else [source]), *map(str, words)]
        preprocess_data.main([*words, "--output", str(tmp_path / output), "--model_name_or_path", str(vocabulary)])
        return tmp_path / output

    return run


# ---------------------------------------------------------------------------------------------- benchmarks


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a data set, a base, an adapter with random weights, and both merged."""
    from tests.support import benchmark

    return benchmark.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def same_arithmetic(monkeypatch):
    """Adapter and merged model agree to the last token in float32 only."""
    from tests.support import benchmark

    benchmark.compute_in_float32(monkeypatch)


@pytest.fixture(scope="module")
def finished(made, tmp_path_factory):
    """A folder of a finished benchmark of the adapter. Read it only."""
    from tests.support import benchmark

    output = tmp_path_factory.mktemp("finished") / "benchmark"
    with pytest.MonkeyPatch.context() as patch:
        benchmark.compute_in_float32(patch)
        benchmark.run(made, output)
    return output


@pytest.fixture(scope="session")
def chromium():
    """A browser for the tests of pages."""
    from tests.support import browser

    yield from browser.launched()
