"""Bases without fill-in-the-middle sentinels learn them: trained, merged and benchmarked like any other model."""

import dataclasses
import json

import pytest
import tokenizers
import torch
import transformers

import benchmarking
import complete
import merge_lora
import train
from codefit import fim, records
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.modeling import hardware, loading
from codefit.records import Pair
from tests.support.training import CONFIGS, command

BASES = ("codegen", "phi")


@pytest.fixture(scope="module")
def plain_tokenizer(tiny_tokenizer, tmp_path_factory):
    """The tiny tokenizer without sentinels."""
    content = json.loads(tiny_tokenizer.backend_tokenizer.to_str())
    spare = {"<fim_prefix>": "<spare_1>", "<fim_suffix>": "<spare_2>", "<fim_middle>": "<spare_3>"}
    for token in content["added_tokens"]:
        token["content"] = spare.get(token["content"], token["content"])
    content["model"]["vocab"] = {spare.get(token, token): n for token, n in content["model"]["vocab"].items()}
    backend = tokenizers.Tokenizer.from_str(json.dumps(content))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )


@pytest.fixture(scope="module")
def pairs(prepared, tmp_path_factory):
    """The small data set as infill pairs: each prompt gets a suffix."""
    folder = tmp_path_factory.mktemp("infill")
    for split in ("train", "validation", "test"):
        found = list(records.read_jsonl(prepared / f"{split}.jsonl", Pair))
        gaps = [dataclasses.replace(pair, task="infill", suffix="\n    return x\n") for pair in found]
        records.write_jsonl(folder / f"{split}.jsonl", gaps)
    return folder


def base_of(kind, tokenizer, folder, spare_rows):
    """Write a random base; with spare rows its embedding is larger than its tokenizer, as Phi's is."""
    config = CONFIGS[kind].__class__.from_dict(
        CONFIGS[kind].to_dict()
        | {"vocab_size": len(tokenizer) + spare_rows, "n_positions": 512, "max_position_embeddings": 512}
        | {"eos_token_id": tokenizer.eos_token_id}
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("spare_rows", [0, 8])
@pytest.mark.parametrize("kind", [*BASES, "llama"])
def test_a_base_without_sentinels_learns_them(kind, spare_rows, plain_tokenizer, pairs, tmp_path, capsys):
    base = base_of(kind, plain_tokenizer, tmp_path / "base", spare_rows)
    assert fim.detect(loading.load_tokenizer(str(base)).get_vocab()) is None
    adapter = tmp_path / "run" / "adapter"
    train.main(command(base, pairs, adapter, "--max_steps", "8", "--eval_predictions", "4"))
    assert "they are added as new tokens: <fim_prefix> <fim_suffix> <fim_middle>" in capsys.readouterr().out
    tokenizer = loading.load_tokenizer(str(adapter))
    ids = tokenizer.convert_tokens_to_ids(list(fim.BASE.sentinels))
    assert json.loads((adapter / "adapter_config.json").read_text())["trainable_token_indices"] == ids
    size = sum(path.stat().st_size for path in adapter.glob("*.safetensors"))
    assert size < (base / "model.safetensors").stat().st_size / 1.2, "the whole embedding is not stored"

    merge_lora.main(["--hf_repository", str(adapter)])
    merged = adapter.parent / "merged"
    table = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).get_input_embeddings().weight
    begun = loading.load_model(str(base), dtype=torch.float32).get_input_embeddings().weight
    assert len(table) == max(len(begun), max(ids) + 1)
    others = min(ids)
    assert torch.allclose(table[:others], begun[:others], atol=1e-2), "no other row is trained"
    moved = (table[ids] - begun[:others].mean(0)).abs().amax(1)
    assert (moved > 1e-3).all(), "every new row is trained"

    capsys.readouterr()
    output = tmp_path / "report"
    words = ["--hf_repository", str(adapter), str(merged), "--dataset", str(pairs), "--output_dir", str(output)]
    benchmarking.main([*words, "--sample", "6", "--max_new_tokens", "8"])
    assert "base (prompt only)" in capsys.readouterr().out
    rows = {
        role: list(records.read_jsonl(output / f"predictions-{role}-heldout.jsonl", records.Prediction))
        for role in ("base", "adapted", "adapted-2")
    }
    assert all(item.suffix == "\n    return x\n" for items in rows.values() for item in items)
    same = [a.prediction == b.prediction for a, b in zip(rows["adapted"], rows["adapted-2"], strict=True)]
    assert sum(same) >= (5 if hardware.compute_dtype() == torch.float32 else 4), "rounding may change one, or two"
    complete.main(
        ["--hf_repository", str(merged), "--prompt", "def f(", "--suffix", "\n    pass", "--max_new_tokens", "4"]
    )


def test_a_suffix_needs_sentinels(plain_tokenizer):
    with pytest.raises(UserError, match="this base model has no fill-in-the-middle sentinels; omit the suffix"):
        Encoder(plain_tokenizer, 64).prompt_ids("a", "b")


def test_new_tokens_and_an_initialisation_that_changes_the_base_are_refused(plain_tokenizer, pairs, tmp_path):
    base = base_of("codegen", plain_tokenizer, tmp_path / "base", 0)
    with pytest.raises(UserError, match="--init_lora_weights pissa cannot be saved together with new tokens; leave"):
        train.main(command(base, pairs, tmp_path / "adapter", "--max_steps", "2", "--init_lora_weights", "pissa"))


def test_pairs_without_a_suffix_need_no_sentinels(plain_tokenizer, prepared, tmp_path, capsys):
    base = base_of("phi", plain_tokenizer, tmp_path / "base", 0)
    train.main(command(base, prepared, tmp_path / "adapter", "--preview", "1"))
    assert "sentinels" not in capsys.readouterr().out
    train.main(command(base, prepared, tmp_path / "adapter", "--dry_run"))
