"""Pairs to token ids, and samples to packed rows. Pure Python and numpy, no torch.

Training, benchmarking and `complete.py` build prompt ids with the same `Encoder.prompt_ids`, so that what is trained is
what is served. Prompt and completion are tokenised apart, as they are at inference; tokenised together, their border
would move in most rows. A prompt is cut on the left, a completion is never cut, and end-of-sequence is added only where
the completion has come to its natural end. Where labels begin is known from lengths, never from the pad id.
"""

import bisect
import collections
import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from codefit import chat_template, console, fim, tokenization
from codefit.errors import UserError, first_line
from codefit.records import Pair

IGNORE = -100  # the label that the loss leaves out

# What ends a completion besides end-of-sequence: the infill of CodeLlama, and the turns of chat models.
ENDS = (
    *("▁<EOT>", "<EOT>", "<|EOT|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>"),
    *("<|end_of_text|>", "<end_of_turn>", "<turn|>", "<|return|>"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one example.

    Attributes:
        ids: shape (length,), int32: prompt, completion and, at a natural end, end-of-sequence.
        start: index of the first token that is trained.
        cut: tokens of the prompt that the limit removed on the left.
        nbytes: UTF-8 bytes of the trained text, for bits per byte.
    """

    ids: np.ndarray
    start: int
    cut: int = 0
    nbytes: int = 0


class Encoder:
    """Turns text into ids with one tokenizer, under one limit for the prompt.

    `prompt_only` leaves the text behind the cursor out: for a base without sentinels beside a model that learned them.

    `eos_id` is the end that is trained; `eos_ids` are all tokens at which a completion ends, that one first: what the
    model's generation_config.json names (`ends`), and those of chat models and of CodeLlama's infill.
    """

    def __init__(
        self, tokenizer: Any, max_prompt_tokens: int, prompt_only: bool = False, ends: Iterable[int] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.codec = tokenization.codec(_backend(tokenizer), tokenizer.name_or_path or "the model")
        self.max_prompt_tokens = max_prompt_tokens
        self.prompt_only = prompt_only
        vocabulary = tokenizer.get_vocab()
        self.fim = fim.detect(vocabulary)
        self.special = {token: vocabulary[token] for token in (self.fim.sentinels if self.fim else ())}
        if tokenizer.eos_token_id is None:
            raise UserError("the tokenizer has no end-of-sequence token; set eos_token in its tokenizer_config.json.")
        self.eos_id: int = tokenizer.eos_token_id
        spelled = (vocabulary[token] for token in ENDS if token in vocabulary)
        self.eos_ids: list[int] = list(dict.fromkeys([self.eos_id, *ends, *spelled]))
        self.pad_id: int = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.head = self._head()

    def _head(self) -> list[int]:
        """Return what the tokenizer itself puts in front of every text: the BOS of Llama, nothing for GPT-2's kin."""
        bos = self.tokenizer.bos_token_id
        first = self.tokenizer("a").input_ids[:1]
        return [bos] if bos is not None and first == [bos] else []

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text that continues another: a completion, a message, what is after the cursor.

        There are no special tokens among them; `<|endoftext|>` written in code stays plain text.
        """
        return self._encoded(self.codec.ids, texts)

    def first_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text that a model reads first: of a prompt."""
        return self._encoded(self.codec.first_ids, texts)

    def _encoded(self, encode: Callable[[list[str]], list[list[int]]], texts: Sequence[str]) -> list[list[int]]:
        try:
            return encode(list(texts))
        except Exception as error:  # the tokenizers in Rust raise a bare one
            raise UserError(_why_no_ids(texts, error)) from None

    def completion_ids(self, text: str) -> list[int]:
        """Return the ids of a completion, without end-of-sequence."""
        return self.ids([text])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, byte for byte: no clean-up of spaces, special tokens left out."""
        return self.codec.decode(ids)

    def pair_ids(self, pair: Pair) -> list[int]:
        """Return the ids a model is asked with for a pair.

        Raises:
            UserError: the model does not know fill-in-the-middle, or has no chat template, and the pair needs it.
        """
        if pair.prompt_format == "chat":
            return self._chat(self.ids([pair.prompt])[0])[0]
        return self.prompt_ids(pair.prompt, self._suffix(pair))

    def _suffix(self, pair: Pair) -> str | None:
        """Return what the model is told of the text behind the cursor."""
        return None if self.prompt_only else pair.suffix

    def prompt_ids(self, prompt: str, suffix: str | None = None) -> list[int]:
        """Return the ids a model is asked with.

        Raises:
            UserError: a suffix is given and the model knows no fill-in-the-middle.
        """
        (prefix_ids,) = self.first_ids([prompt])
        return self._prompt(prefix_ids, self.ids([suffix])[0] if suffix is not None else None)[0]

    def _prompt(self, prefix: list[int], suffix: list[int] | None, suffix_first: bool = False) -> tuple[list[int], int]:
        """Return prompt ids within the limit, and how many tokens were cut."""
        if suffix is None:
            room = self._room(len(self.head))
            kept = prefix[-room:]
            # a model needs one token to start from: an empty prompt is the border between two documents
            return self.head + kept or [self.eos_id], len(prefix) - len(kept)
        if self.fim is None:
            raise UserError(
                "this base model has no fill-in-the-middle sentinels; leave the suffix out, "
                "or take a base that has them (StarCoder2, Qwen2.5-Coder, CodeLlama, DeepSeek-Coder, data/base)."
            )
        room = self._room(len(self.head) + len(self.special))
        tail = suffix[: max(room // 4, room - len(prefix))]  # text before the cursor says more than text behind it
        kept = prefix[len(prefix) - min(len(prefix), room - len(tail)) :]
        pieces = {"prefix": kept, "suffix": tail}
        ids = list(self.head)
        for kind, value in self.fim.parts("prefix", "suffix", suffix_first):
            ids += [self.special[value]] if kind == "token" else pieces[value]
        return ids, len(prefix) + len(suffix) - len(kept) - len(tail)

    def _chat(self, message: list[int]) -> tuple[list[int], int]:
        """Return the ids of a user's message in the model's chat template, and how many tokens of it were cut.

        Only the template's own special tokens are special: one that is written in the message stays text.
        """
        head, tail = self._chat_layout
        kept = message[-self._room(len(head) + len(tail)) :]
        return [*head, *kept, *tail], len(message) - len(kept)

    @functools.cached_property
    def _chat_layout(self) -> tuple[list[int], list[int]]:
        """The ids before and after a user's message in the model's chat template."""
        return chat_template.around_message(self.tokenizer, self.codec)

    def _room(self, fixed: int) -> int:
        """Return how many tokens of text a prompt has room for next to those that it always holds.

        Raises:
            UserError: for none.
        """
        if self.max_prompt_tokens <= fixed:
            raise UserError(
                f"a prompt of at most {self.max_prompt_tokens} tokens has no room for text next to the {fixed} that it "
                "always holds; raise --max_prompt_tokens, or lower --max_new_tokens where the model's context is full."
            )
        return self.max_prompt_tokens - fixed

    def samples(self, pairs: Sequence[Pair], both_orders: bool = False) -> Iterator[Sample]:
        """Yield the sample of each pair, in order.

        With `both_orders` the id of a pair decides whether its suffix comes first, for a family that knows both orders.
        """
        both_orders = both_orders and self.fim is not None and self.fim.both
        prompts = self.first_ids([pair.prompt for pair in pairs])
        messages = self.ids([pair.prompt if pair.prompt_format == "chat" else "" for pair in pairs])
        completions = self.ids([pair.completion for pair in pairs])
        suffixes = self.ids([self._suffix(pair) or "" for pair in pairs])
        rows = zip(pairs, prompts, messages, completions, suffixes, strict=True)
        for pair, before, message, middle, behind in rows:
            if pair.prompt_format == "chat":
                prompt, cut = self._chat(message)
            else:
                suffix_first = both_orders and zlib.crc32(pair.id.encode("utf-8", "surrogatepass")) % 2 == 1
                prompt, cut = self._prompt(before, behind if self._suffix(pair) is not None else None, suffix_first)
            end = [self.eos_id] if pair.finish_reason == "stop" else []
            ids = np.asarray(prompt + middle + end, dtype=np.int32)
            yield Sample(ids, len(prompt), cut, len(pair.completion.encode()))


def _backend(tokenizer: Any) -> Any:
    """Return the `tokenizers.Tokenizer` in a tokenizer of Transformers."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no tokenizer.json (a fast tokenizer); take another base."
        )
    return backend


def _why_no_ids(texts: Sequence[str], error: Exception) -> str:
    """Return the sentence for texts that a tokenizer does not take."""
    for text in texts:
        if half := re.search("[\ud800-\udfff]", text):
            around = text[max(half.start() - 20, 0) : half.end() + 20]
            return (
                f"a text holds half of a surrogate pair, which is no Unicode ({around!a}): bytes that were no "
                "UTF-8, or an escape that was cut in two; repair or remove it."
            )
    return f"the tokenizer does not take a text ({first_line(error)}); get the tokenizer again, or take another base."


def encode(
    pairs: Iterable[Pair],
    encoder: Encoder,
    max_length: int,
    enough_tokens: float = float("inf"),
    both_orders: bool = False,
) -> tuple[list[Sample], dict[str, int]]:
    """Encode pairs and keep the ledger of rows: read = trained + dropped by reason.

    Args:
        pairs: the examples.
        encoder: the tokenizer and its limit.
        max_length: rows longer than this are dropped, with a count: cutting one would lose the end of its completion.
        enough_tokens: stop encoding once the samples hold this many tokens; what is left is counted as not needed.
        both_orders: see `Encoder.samples`; for what is trained, since a model is asked in one order.

    Returns:
        The samples and the ledger.
    """
    ledger = dict.fromkeys(("read", "trained", "cut", "too long", "empty completion", "not needed"), 0)
    samples: list[Sample] = []
    tokens = 0
    for chunk in _chunks(pairs, 512):
        ledger["read"] += len(chunk)
        if tokens >= enough_tokens:
            ledger["not needed"] += len(chunk)
            continue
        for pair, sample in zip(chunk, encoder.samples(chunk, both_orders), strict=True):
            if not pair.completion:
                ledger["empty completion"] += 1
            elif len(sample.ids) > max_length:
                ledger["too long"] += 1
            else:
                ledger["trained"] += 1
                ledger["cut"] += sample.cut > 0
                tokens += len(sample.ids)
                samples.append(sample)
    return samples, ledger


def _chunks(items: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    chunk: list[Pair] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return rows of sample indices whose lengths sum to at most capacity: best fit, the longest first.

    Raises:
        ValueError: a length is over the capacity.
    """
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, row), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > capacity:
            raise ValueError(f"a sample of {length} tokens does not fit into a row of {capacity}")
        place = bisect.bisect_left(free, (length, -1))
        room, row = free.pop(place) if place < len(free) else (capacity, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(index)
        bisect.insort(free, (room - length, row))
    return rows


def arrange(lengths: Sequence[int], capacity: int, hidden_size: int) -> tuple[int, list[list[int]]]:
    """Return the width, at most capacity, and the rows of indices in which samples of these lengths cost least.

    Attention multiplies a sample with its whole row and masks the others afterwards, so that a wide row costs more;
    a narrow one is filled less well. In a layer of width h a token takes 24 h^2 operations for the matrices and 4 h w
    for attention over a row of w tokens: in proportion 6 h + w.
    """
    longest = max(lengths, default=1)
    widths = sorted({min(capacity, longest * halves // 2) for halves in (2, 3, 4, 6, 8)} | {capacity})
    found = [(width, pack(lengths, width)) for width in widths]
    return min(found, key=lambda way: max(len(way[1]), 1) * way[0] * (6 * hidden_size + way[0]))


def lay_out(samples: Sequence[Sample], capacity: int, pad_id: int) -> dict[str, np.ndarray]:
    """Lay samples side by side in one row.

    Returns:
        Arrays of shape (capacity,), int64: `input_ids`; `labels`, already shifted (labels[i] is the token to predict
        at position i, IGNORE where none is); `position_ids`, which restart in every sample and in the padding.
    """
    row = {
        "input_ids": np.full(capacity, pad_id, np.int64),
        "labels": np.full(capacity, IGNORE, np.int64),
        "position_ids": np.zeros(capacity, np.int64),
    }
    at = 0
    for sample in samples:
        end, start = at + len(sample.ids), max(sample.start, 1)
        row["input_ids"][at:end] = sample.ids
        row["labels"][at + start - 1 : end - 1] = sample.ids[start:]
        row["position_ids"][at:end] = np.arange(end - at)
        at = end
    row["position_ids"][at:] = np.arange(capacity - at)
    return row


def preview(sample: Sample, encoder: Encoder, colour: bool) -> str:
    """Return a sample as text: every token in brackets, those that are trained marked; for people to check."""
    tokenizer = encoder.codec.tokenizer
    pieces = [console.printable(tokenizer.decode([int(i)], skip_special_tokens=False)) for i in sample.ids]
    prompt = "".join(f"[{piece}]" for piece in pieces[: sample.start])
    trained = "".join(f"[{piece}]" for piece in pieces[sample.start :])
    marked = f"\033[32m{trained}\033[0m" if colour else trained
    cut = f"({sample.cut} tokens cut on the left) " if sample.cut else ""
    return f"{cut}{prompt}\n  -- trained from here --\n{marked}\n"


def counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Return how many samples, tokens and trained tokens there are."""
    total: collections.Counter[str] = collections.Counter()
    for sample in samples:
        total.update(samples=1, tokens=len(sample.ids), label_tokens=len(sample.ids) - max(sample.start, 1))
    return dict(total)
