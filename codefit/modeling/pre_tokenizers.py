"""Pre-tokenizers of byte-level BPE tokenizers: the steps in tokenizer.json, and llama.cpp's names for them.

GGUF files hold such a name (`tokenizer.ggml.pre`), not the steps. The names are those of src/llama-vocab.cpp.
"""

from typing import Any

GPT2 = "byte level"  # GPT-2's pattern, which is built into the step ByteLevel
DIGITS = "digits"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
DEEPSEEK = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+")
DEEPSEEK_CHINESE = "[一-龥ࠀ-一가-퟿]+"

NAMES = {
    (GPT2,): "gpt-2",
    (DIGITS, GPT2): "starcoder",
    (LLAMA3,): "llama-bpe",
    (QWEN2,): "qwen2",
    (*DEEPSEEK, DIGITS): "deepseek-coder",
    (*DEEPSEEK, DEEPSEEK_CHINESE, DIGITS): "deepseek-coder",
}

# Every name that stands for one of the above; llama.cpp names a pre-tokenizer after each model family.
STEPS = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais"), (GPT2,)),
    **dict.fromkeys(
        ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"), (DIGITS, GPT2)
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe"), (LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"), (QWEN2,)),
    "deepseek-coder": (*DEEPSEEK, DEEPSEEK_CHINESE, DIGITS),
}


def splitter(llama_cpp_name: str) -> Any:
    """Return the pre-tokenizer of the library `tokenizers` for a name in a GGUF file; None for an unknown name."""
    from tokenizers import Regex
    from tokenizers import pre_tokenizers as kinds

    steps = STEPS.get(llama_cpp_name)
    if steps is None:
        return None
    made = [
        kinds.Digits(individual_digits=True)
        if step == DIGITS
        else kinds.ByteLevel(add_prefix_space=False)
        if step == GPT2
        else kinds.Split(Regex(step), "isolated")
        for step in steps
    ]
    bytes_only = [] if GPT2 in steps else [kinds.ByteLevel(add_prefix_space=False, use_regex=False)]
    return kinds.Sequence([*made, *bytes_only])
