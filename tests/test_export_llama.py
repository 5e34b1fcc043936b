"""A GGUF file, loaded by llama.cpp itself, predicts the tokens that Transformers predicts.

Needs llama-cpp-python, which compiles llama.cpp when it is installed: pip install llama-cpp-python==0.3.36
"""

import shutil

import pytest
import torch
import transformers

from codefit import models
from codefit.cli import ROOT
from codefit.export import gguf

llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python, which is compiled when it is installed")

BASE = ROOT / "data" / "base"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "codefit").rglob("*.py"))]
SOURCES = [text for text in TEXTS if len(text) > 2000 and text.isascii()][:20]
NEW_TOKENS = 12
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
CONFIGS = {
    "llama": lambda words: transformers.LlamaConfig(vocab_size=words, num_key_value_heads=2, **SIZES),
    "qwen2": lambda words: transformers.Qwen2Config(vocab_size=words, num_key_value_heads=2, **SIZES),
    "phi": lambda words: transformers.PhiConfig(vocab_size=words, partial_rotary_factor=0.5, **SIZES),
    "gpt_neox": lambda words: transformers.GPTNeoXConfig(
        vocab_size=words,
        rope_parameters={"rope_theta": 10000.0, "partial_rotary_factor": 0.25, "rope_type": "default"},
        **SIZES,
    ),
    "starcoder2": lambda words: transformers.Starcoder2Config(vocab_size=words, num_key_value_heads=2, **SIZES),
    "linear rope": lambda words: transformers.LlamaConfig(
        vocab_size=words, rope_parameters={"rope_theta": 10000.0, "factor": 4.0, "rope_type": "linear"}, **SIZES
    ),
}


def load(file):
    """Load a file in llama.cpp, keys and values in float32 as Transformers has them."""
    return llama_cpp.Llama(str(file), n_ctx=256, n_threads=1, logits_all=True, verbose=False, type_k=0, type_v=0)


def greedy(model, ids):
    """Return the likeliest tokens after some ids."""
    model.reset()
    model.eval(ids)
    for _ in range(NEW_TOKENS):
        model.eval([int(model.scores[model.n_tokens - 1].argmax())])
    return [int(token) for token in model.input_ids[len(ids) : model.n_tokens]]


def expected(model, ids):
    model.generation_config.eos_token_id = None
    output = model.generate(torch.tensor([ids]), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0)
    return output[0, len(ids) :].tolist()


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_the_embedded_base_predicts_the_same_tokens_in_llama_cpp(kind, tmp_path):
    gguf.write(BASE, tmp_path / "x.gguf", kind, "x")
    ours, theirs = models.load_model(str(BASE), dtype=torch.float32), load(tmp_path / "x.gguf")
    tokenizer = models.load_tokenizer(str(BASE))
    for text in SOURCES:
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == ids
        prompt = ids[:48]
        assert greedy(theirs, prompt) == expected(ours, prompt)
    theirs.close()


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_predicts_the_same_tokens_in_llama_cpp(architecture, tmp_path):
    tokenizer = models.load_tokenizer(str(BASE))
    torch.manual_seed(0)
    config = CONFIGS[architecture](len(tokenizer))
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * (0.1 if weight.ndim == 1 else 0.05))
    model.save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, tmp_path / "model" / name)
    gguf.write(tmp_path / "model", tmp_path / "x.gguf", "f32", "x")
    theirs = load(tmp_path / "x.gguf")
    for number in range(20):
        ids = [(7919 * number + 31 * place) % 8000 + 100 for place in range(24)]
        assert greedy(theirs, ids) == expected(model, ids)
    theirs.close()
