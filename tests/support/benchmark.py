"""A data set and models for a complete benchmark, and helpers to read its output."""

import json

import peft
import pytest
import tokenizers
import torch
import transformers

import benchmarking
from codefit import records
from codefit.manifest import MANIFEST
from codefit.modeling import hardware
from codefit.records import Pair, Prediction
from codefit.training import plots

EOS = "<|endoftext|>"
CODE = [
    ("fun add(a: Int, b: Int): Int {\n    return ", "a + b\n", "stop"),
    ("val names = listOf(", '"x", "y")\n', "stop"),
    ("class Point(val x: Int) {\n    override fun toString() = ", '"Point($x)"\n', "stop"),
    ("for (item in items) {\n", "    println(item)\n    total += item", "length"),
]
PAIRS = [
    Pair(f"p{n}", "completion", f"// file {chr(97 + n)}\n{prompt}", completion, reason, path=f"src/File{n // 2}.kt")
    for n, (prompt, completion, reason) in enumerate(CODE * 3)
]
TRAIN = [
    Pair(
        f"t{n}", "completion", f"// old {n}\n{prompt.replace('item', 'thing')}", f"old_{completion}", path="src/Old.kt"
    )
    for n, (prompt, completion, _) in enumerate(CODE * 2)
]


def new_tokenizer():
    """Return a tokenizer with a token per byte."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({letter: n for n, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS)


def write_manifest(folder, **facts):
    (folder / MANIFEST).write_text(json.dumps({"arguments": {}, **facts}))


def make(root):
    """Fill a folder with a data set, a base, an adapter with random weights, and both merged."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"vocab_size": 257, "bos_token_id": None, "eos_token_id": 256}
    config = transformers.LlamaConfig(**ids, **size, max_position_embeddings=256, initializer_range=0.3)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(root / "base")
    (root / "data").mkdir()
    records.write_jsonl(root / "data" / "train.jsonl", TRAIN)
    records.write_jsonl(root / "data" / "test.jsonl", PAIRS)
    lora = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, lora)
    adapted.peft_config["default"].base_model_name_or_path = str(root / "base")
    adapted.save_pretrained(root / "adapter")
    write_manifest(root / "adapter", dataset=str(root / "data"), load_in_4bit=False)
    plots.loss_curve([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}], root / "adapter" / "loss.png")
    adapted.merge_and_unload().save_pretrained(root / "merged")
    write_manifest(root / "merged", dataset=str(root / "data"), base_model=str(root / "base"))
    for name in ("base", "adapter", "merged"):
        new_tokenizer().save_pretrained(root / name)
    return root


def compute_in_float32(patch):
    """Have models computed on the CPU in float32."""
    patch.setattr(hardware, "compute_dtype", lambda: torch.float32)
    patch.setattr(hardware, "device", lambda: torch.device("cpu"))


def main():
    """Run benchmarking.py with the words of the command line, in float32."""
    with pytest.MonkeyPatch.context() as patch:
        compute_in_float32(patch)
        benchmarking.main()


def run(made, output, *flags, model="adapter"):
    shared = ["--hf_repository", str(made / model), "--output_dir", str(output), "--max_new_tokens", "8"]
    benchmarking.main([*shared, "--max_prompt_tokens", "40", "--tokens_per_batch", "200", *flags])


def predictions(folder, role, benchmark="heldout"):
    return list(records.read_jsonl(folder / f"predictions-{role}-{benchmark}.jsonl", Prediction))


def scores(folder):
    return json.loads((folder / "scores.json").read_text())


def same_files(one, other):
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
