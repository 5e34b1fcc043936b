"""Models from scratch: tokenizer, small decoder, training samples of whole documents, and the optimizer Muon."""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from codefit import fim
from codefit.encoding import Encoder, Sample
from codefit.modeling import hardware
from codefit.records import Pair

END, PAD = "<|endoftext|>", "<|pad|>"

# The pre-tokenizers, by --tokenizer_type. Every newline is a piece of its own, so that a line always starts with a new
# token; other pieces are words and punctuation with the space before them, and single digits. No split removes a
# character: case, underscores and indentation are kept.
#
# "bpe" has the steps of DeepSeek-Coder's tokenizer, which llama.cpp calls "deepseek-coder". "identifier" also splits
# names at camel-case humps and around underscores: ` getHTTPResponse_v` becomes ` get`, `HTTP`, `Response`, `_`, `v`
# (subtokens as in arXiv 1808.01400). Merges never cross a split, so the vocabulary holds parts of names, not whole
# names.
HUMPS = r"\s?(?:\p{Lu}+(?=\p{Lu}\p{Ll})|\p{Lu}?\p{Ll}+|\p{Lu}+|(?:(?![\p{Lu}\p{Ll}])\p{L})+)"
SPLITS = {  # the keys are those of scratch_flags.TOKENIZERS
    "bpe": ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+"),
    "identifier": ("[\r\n]", HUMPS, r"\s?_+", r"\s?(?:(?!_)\p{P})+"),
}
# A pair of pieces that occurs less often than this is not merged into a token; a rare word is then spelled with smaller
# pieces, ultimately bytes. Parts of names repeat more often than whole names.
RAREST_MERGE = {"bpe": 0, "identifier": 3}


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int, kind: str = "bpe") -> Any:
    """Train a byte-level BPE tokenizer with fill-in-the-middle sentinels.

    The result is a standard `tokenizer.json` that AutoTokenizer loads without custom code, and it is lossless.

    Args:
        texts: the training text.
        vocab_size: maximum number of tokens, including special tokens.
        max_length: the model's context window.
        kind: a key of SPLITS.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[kind]]
        + [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [END, PAD, *fim.BASE.sentinels]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=RAREST_MERGE[kind],
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(fim.BASE.sentinels),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def new_model(
    tokenizer: Any,
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    context: int,
    std: float = 0.02,
    dropout: float = 0.0,
) -> Any:
    """Return a Llama-architecture decoder with random weights and tied embeddings.

    Weights are drawn from N(0, std), and those that project into the residual stream from N(0, std / sqrt(2 * layers))
    as in GPT-2, so that the variance of the residual stream does not grow with depth. Dropout is where GPT-2 has it:
    on the embeddings, on the attention, and on what each half of a layer adds to the residual stream.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        attention_dropout=dropout,
        initializer_range=std,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    if not torch.cuda.is_available():
        # on a CPU, compiled eager attention trains a fifth faster than the fused kernel, whose backward pass is slow
        model.set_attn_implementation("eager")
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.normal_(weight, std=std / (2 * layers) ** 0.5)
    if dropout:
        drop_out(model, dropout)
    return model


def drop_out(model: Any, share: float) -> None:
    """Add dropout to embeddings and residual stream during training. Llama has none there; hooks are not saved."""

    def drop(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        """Return the output, of any shape, with a share of its values set to 0 and the others scaled up."""
        return torch.nn.functional.dropout(output, share, module.training)

    for name, module in model.named_modules():
        if name.endswith(("embed_tokens", "o_proj", "down_proj")):
            module.register_forward_hook(drop)


# ---------------------------------------------------------------------------------------------- samples


def samples(
    pairs: Iterable[Pair],
    encoder: Encoder,
    length: int,
    fim_rate: float,
    seed: int,
    enough_tokens: float = float("inf"),
) -> Iterator[Sample]:
    """Yield training samples of whole documents: chunks of at most `length` tokens, some as fill-in-the-middle.

    A document begins with end-of-sequence, which separates it from the previous one. With probability `fim_rate` a
    chunk is cut at two random characters and its middle is moved to the end, half of the time in the order
    prefix-suffix-middle and half in suffix-prefix-middle (arXiv 2207.14255); its three parts are tokenised separately.
    Every token has a label, so `start` is 0. Once `enough_tokens` are reached no further document is read.
    """
    chance = random.Random(seed)
    tokens = 0
    for batch in _batched(pairs, 64):
        for pair, ids in zip(batch, encoder.ids([pair.completion for pair in batch]), strict=True):
            tokens += len(ids)
            for chunk, nbytes in _chunks(ids, encoder, length, fim_rate, chance):
                yield Sample(np.asarray(chunk, dtype=np.int32), 0, 0, nbytes, pair.id)
        if tokens >= enough_tokens:
            return


def _batched(pairs: Iterable[Pair], size: int) -> Iterator[tuple[Pair, ...]]:
    iterator = iter(pairs)
    while batch := tuple(itertools.islice(iterator, size)):
        yield batch


def _chunks(
    ids: list[int], encoder: Encoder, length: int, fim_rate: float, chance: random.Random
) -> Iterator[tuple[list[int], int]]:
    """Yield the chunks of a document, and the bytes of each that are predicted."""
    border = [encoder.eos_id]
    whole = [*border, *ids, *border]
    room = length - 8  # for sentinels, and the few extra tokens of three parts that are tokenised separately
    for at in range(0, len(whole), room):
        chunk = whole[at : at + room]
        nbytes = len(encoder.decode(chunk[1:]).encode())  # the first token of a chunk is not predicted
        text = encoder.decode(chunk)
        if len(chunk) > 16 and "\ufffd" not in text and chance.random() < fim_rate:
            moved = _middle_moved(text, encoder, chance)
            chunk = moved if len(moved) <= length else chunk
        yield chunk, nbytes


def _middle_moved(text: str, encoder: Encoder, chance: random.Random) -> list[int]:
    first, second = sorted(chance.randrange(len(text) + 1) for _ in range(2))
    prefix, middle, suffix = encoder.ids([text[:first], text[first:second], text[second:]])
    pieces = {"prefix": prefix, "suffix": suffix}
    ids: list[int] = []
    for kind, value in fim.BASE.parts("prefix", "suffix", suffix_first=chance.random() >= 0.5):
        ids += [encoder.special[value]] if kind == "token" else pieces[value]
    return [*ids, *middle, encoder.eos_id]


# ---------------------------------------------------------------------------------------------- optimizer


class Muon(torch.optim.Muon):
    """Muon in the dtype of the gradients; PyTorch's own orthogonalises them in bfloat16.

    A CPU without bfloat16 emulates it ten times slower than float32.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step with Nesterov momentum and the scale of `match_rms_adamw`, as PyTorch's Muon does."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p.grad)
                momentum = state["momentum_buffer"]
                momentum.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalised(p.grad.lerp(momentum, group["momentum"]), group)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def orthogonalised(gradient: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    """Return the matrix with all singular values brought close to 1 by Muon's quintic Newton-Schulz iteration.

    Args:
        gradient: shape (rows, columns), any floating-point dtype; the result has the same shape and dtype.
        group: the optimizer's parameter group with the settings of the iteration.
    """
    a, b, c = group["ns_coefficients"]
    wide: torch.Tensor = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T
    found: torch.Tensor = wide / wide.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = found @ found.T
        found = a * found + (b * gram + c * gram @ gram) @ found
    return found if wide is gradient else found.T


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for the matrices of the layers, AdamW for embeddings and norms, under one learning rate.

    Weight decay applies to the matrices only: a norm's gain should stay near 1, and the embedding of a rare token,
    which hardly gets a gradient, would only shrink.

    Muon's step is scaled to the root mean square of AdamW's (`match_rms_adamw`, arXiv 2502.16982), so that both use the
    same learning rate and schedule.
    """

    def __init__(self, model: Any, lr: float, weight_decay: float) -> None:
        matrices, others = split_parameters(model)
        muon = Muon if hardware.compute_dtype() == torch.float32 else torch.optim.Muon
        self.parts: Sequence[torch.optim.Optimizer] = (
            muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        )
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step both parts."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore both parts, and the parameter groups that the learning-rate schedule changes."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def split_parameters(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Return the matrices of the decoder layers, and all other parameters (embeddings, output layer, norms)."""
    embeddings = {
        id(p) for p in (*model.get_input_embeddings().parameters(), *model.get_output_embeddings().parameters())
    }
    named = list(model.parameters())
    matrices = [p for p in named if p.ndim == 2 and id(p) not in embeddings]
    chosen = {id(p) for p in matrices}
    return matrices, [p for p in named if id(p) not in chosen]
