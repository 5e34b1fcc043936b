"""The likelihood of later code after the shorter of the two runs, which needs no completions."""

from collections.abc import Sequence
from pathlib import Path

from codefit.encoding import Encoder
from codefit.generation import likelihood
from codefit.manifest import read_manifest
from codefit.modeling import loading
from codefit.records import Pair
from codefit.scoring.bits_per_byte import bits_per_byte


def bits_after(model: str, adapter: Path, pairs: Sequence[Pair], own_tokens: int) -> float:
    """Return the bits per byte of references under a model with an adapter.

    Args:
        model: the base.
        adapter: folder.
        pairs: prompts and references.
        own_tokens: of a prompt; longer ones are cut on the left.
    """
    tokenizer = loading.load_tokenizer(model)
    in_4bit = bool(read_manifest(adapter).get("load_in_4bit"))  # as it was trained, and as the benchmark loads it
    attached = loading.attach_adapter(loading.load_model(model, load_in_4bit=in_4bit), str(adapter))
    encoder = Encoder(tokenizer, own_tokens, ends=loading.ends_in(attached))
    nats = likelihood.completion_nats(attached, encoder, pairs, do_progress=True)
    return bits_per_byte(sum(each for each, _ in nats), sum(len(pair.completion.encode()) for pair in pairs))
