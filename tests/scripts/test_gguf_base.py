"""The whole path on a GGUF file as the base: pairs, training, merge, benchmark and completion."""

import json

import pytest

import benchmarking
import complete
import merge_lora
import preprocess_data
import train
from codefit.manifest import read_manifest
from codefit.publishing import gguf
from codefit.records import Document, write_jsonl
from tests.support.texts import SOURCES


@pytest.fixture(scope="module")
def base(tiny_base, tmp_path_factory):
    """The tiny base as a GGUF file."""
    file = tmp_path_factory.mktemp("models") / "tiny.gguf"
    gguf.write(tiny_base, file, "f16", "tiny")
    return file


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf run")
    documents = [Document(path.read_text(), f"{path.stem}.py", "me/project", language="python") for path in SOURCES]
    write_jsonl(folder / "raw.jsonl", documents)
    named = ["--model_name_or_path", str(base)]
    lengths = ["--max_prompt_tokens", "64", "--max_completion_tokens", "24", "--test_share", "0.3"]
    files = ["--input", str(folder / "raw.jsonl"), "--output", str(folder / "pairs")]
    preprocess_data.main([*files, *named, *lengths, "--num_workers", "1"])
    steps = ["--max_steps", "2", "--eval_predictions", "0", "--validation_samples", "8", "--max_length", "128"]
    words = ["--dataset", str(folder / "pairs"), "--output_dir", str(folder / "adapter"), *named, *steps]
    train.main([*words, "--no-load_in_4bit"])
    return folder / "adapter"


def test_the_adapter_names_the_file(adapter, base):
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert read_manifest(adapter)["base_model"] == str(base)


def test_merge_benchmark_and_completion_find_the_base(adapter, tmp_path, capsys):
    merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")])
    words = ["--output_dir", str(tmp_path / "benchmark"), "--sample", "4", "--max_new_tokens", "4"]
    benchmarking.main(["--hf_repository", str(adapter), str(tmp_path / "merged"), *words])
    assert "perplexity" in (tmp_path / "benchmark" / "report.md").read_text().lower()
    for model in (adapter, tmp_path / "merged"):
        capsys.readouterr()
        complete.main(["--hf_repository", str(model), "--prompt", "def f(", "--max_new_tokens", "4"])
        assert capsys.readouterr().out
