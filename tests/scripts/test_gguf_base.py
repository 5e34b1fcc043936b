"""The whole path on a GGUF file as the base: pairs, training, merge, benchmark and completion."""

import json

import peft
import pytest
import torch
import transformers

import benchmarking
import complete
import merge_lora
import preprocess_data
import train
from codefit import gguf_base
from codefit.manifest import read_manifest, sha256
from codefit.modeling import loading
from codefit.publishing import cards, gguf
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
    made = read_manifest(adapter)
    assert made["base_model"] == str(base)
    assert made["base_gguf"] == {"file": str(base), "sha256": sha256(base), "quantisation": "F16", "licence": ""}


def test_a_base_that_is_no_file_is_named_as_before(tiny_base):
    assert gguf_base.origin(str(tiny_base)) is None
    assert gguf_base.origin("microsoft/phi-1_5") is None


def test_the_card_says_which_file_the_base_was(adapter, base):
    text = cards.adapter_card(adapter, "me/tiny")
    for said in ("dequantised model", f"| file | `{base.name}` |", sha256(base), "| quantisation | F16 |"):
        assert said in text
    assert f'from_pretrained("path/to/its/folder", gguf_file="{base.name}", dtype="auto")' in text
    assert str(base.parent) not in text.partition("## How it was made")[0]


def test_what_the_card_tells_to_load_is_the_model(adapter, base):
    raw = transformers.AutoModelForCausalLM.from_pretrained(str(base.parent), gguf_file=base.name, dtype="auto")
    ids = torch.tensor([[5, 6, 7, 8]])
    theirs = peft.PeftModel.from_pretrained(raw, str(adapter)).eval().float()
    ours = loading.attach_adapter(loading.load_model(str(base), dtype=torch.float32), str(adapter))
    with torch.no_grad():
        assert torch.allclose(ours(ids).logits, theirs(ids).logits, atol=1e-3)


def test_merge_benchmark_and_completion_find_the_base(adapter, base, tmp_path, capsys):
    merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")])
    assert read_manifest(tmp_path / "merged")["base_gguf"] == read_manifest(adapter)["base_gguf"]
    assert sha256(base) in (tmp_path / "merged" / "README.md").read_text()
    words = ["--output_dir", str(tmp_path / "benchmark"), "--sample", "4", "--max_new_tokens", "4"]
    benchmarking.main(["--hf_repository", str(adapter), str(tmp_path / "merged"), *words])
    assert "perplexity" in (tmp_path / "benchmark" / "report.md").read_text().lower()
    for model in (adapter, tmp_path / "merged"):
        capsys.readouterr()
        complete.main(["--hf_repository", str(model), "--prompt", "def f(", "--max_new_tokens", "4"])
        assert capsys.readouterr().out
