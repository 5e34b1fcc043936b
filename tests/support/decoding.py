"""Small models that generate different text for every prompt, and what Transformers generates with them."""

import torch
import transformers

from codefit.generation import batched
from codefit.records import Pair

VOCABULARY = 61
SHAPE = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
SIZE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS = {
    "llama": transformers.LlamaConfig(**SHAPE, **SIZE, num_key_value_heads=2, initializer_range=0.4),
    "qwen2": transformers.Qwen2Config(**SHAPE, **SIZE, num_key_value_heads=2, initializer_range=0.4),
    "phi": transformers.PhiConfig(**SHAPE, **SIZE, initializer_range=0.4),
    "codegen": transformers.CodeGenConfig(
        **SHAPE, n_embd=32, n_layer=2, n_head=4, rotary_dim=8, n_positions=128, initializer_range=0.4
    ),
    "starcoder2": transformers.Starcoder2Config(
        **SHAPE, **SIZE, num_key_value_heads=2, sliding_window=12, initializer_range=0.4
    ),
}
EOS = [3, 5, 8, 13, 21, 34, 55]  # many, so that a random model stops soon and rows stop at different times
NEW = 24


def prompts_of(lengths):
    draw = torch.Generator().manual_seed(2)
    return [torch.randint(1, VOCABULARY, (length,), generator=draw).tolist() for length in lengths]


def reference(model, prompt, eos_ids):
    """Return what Transformers' greedy search generates for a single prompt."""
    ids = torch.tensor([prompt])
    written = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, eos_token_id=eos_ids or None
    )[0, len(prompt) :].tolist()
    if written[-1] in eos_ids:
        return batched.Completion(written[:-1], "stop")
    return batched.Completion(written, "length")


def run(model, prompts, eos_ids=EOS, **options):
    return batched.generate(model, prompts, **{"max_new_tokens": NEW, "eos_ids": eos_ids, "pad_id": 0} | options)


class Letters:
    """An encoder whose tokens are the code points of the text."""

    pad_id = 0

    def ids(self, texts):
        return [[ord(letter) - 64 for letter in text] for text in texts]

    def prompt_ids(self, prompt, suffix=None):
        return self.ids([(suffix or "") + prompt])[0]

    def pair_ids(self, pair):
        return self.prompt_ids(pair.prompt, pair.suffix)


TEXTS = [("ABCDE", "FGHIJKL"), ("Z", "A"), ("HELLO" * 5, ""), ("QWERTZ", "QWERTZ" * 3), ("B", "CDEFGHIJKLMNOP")]
PAIRS = [Pair(str(number), "completion", prompt, completion) for number, (prompt, completion) in enumerate(TEXTS)]


def direct_nats(model, pair):
    """Return the nats from the full logits of one unpadded row: the definition."""
    prompt, completion = Letters().prompt_ids(pair.prompt, pair.suffix), Letters().ids([pair.completion])[0]
    logits = model(torch.tensor([prompt + completion])).logits[0].double()
    chosen = torch.log_softmax(logits, -1)[range(len(prompt) - 1, len(prompt) + len(completion) - 1), completion]
    return -float(chosen.sum())
