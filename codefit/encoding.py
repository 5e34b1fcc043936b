"""Encoding of pairs to token ids, and packing of samples into rows. Pure Python and numpy, no torch.

Training, benchmarking and `complete.py` all build prompt ids with `Encoder.prompt_ids`, so that training and serving
agree. Prompt and completion are tokenised separately, as at inference; tokenised together, the token boundary between
them would move in most samples. A prompt is cut on the left, a completion is never cut, and end-of-sequence is added
only if the completion has reached its natural end. The start of the labels is known from lengths, not from the pad id.
"""

import bisect
import collections
import dataclasses
import functools
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from codefit import chat_template, console, fim, tokenization
from codefit.errors import UserError, first_line
from codefit.records import Pair

IGNORE = -100  # the label that the loss ignores
UNWEIGHTED = 0.0, 1.0  # only completions are trained

# Tokens that end a completion besides end-of-sequence: infill in CodeLlama, and turns in chat models.
ENDS = (
    *("▁<EOT>", "<EOT>", "<|EOT|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>"),
    *("<|end_of_text|>", "<end_of_turn>", "<turn|>", "<|return|>"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one example.

    Attributes:
        ids: shape (length,), int32: prompt, completion and, at a natural end, end-of-sequence.
        start: index of the first token of the completion; 0 for a whole document.
        cut: number of prompt tokens cut on the left.
        nbytes: UTF-8 bytes of the completion, for bits per byte.
        source: the file that it was made of, "" if it is not known.
        weights: of the loss of a prompt token and of a completion token; a prompt of weight 0 has no labels.
    """

    ids: np.ndarray
    start: int
    cut: int = 0
    nbytes: int = 0
    source: str = ""
    weights: tuple[float, float] = UNWEIGHTED

    @property
    def first_label(self) -> int:
        """Index of the first token with a label; the first token of a text is never predicted."""
        return max(0 if self.weights[0] else self.start, 1)


class Encoder:
    """Encodes text with one tokenizer and one limit for the prompt.

    `prompt_only` ignores the suffix: for a base without sentinels that is compared with a model that has learned them.

    `eos_id` is the end-of-sequence token used in training. `eos_ids` are all tokens that end a completion, that one
    first: those in the model's generation_config.json (`ends`), and those of chat models and of CodeLlama's infill.
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
        """Return the ids that the tokenizer puts before every text: BOS for Llama, nothing for GPT-2 and the like."""
        bos = self.tokenizer.bos_token_id
        first = self.tokenizer("a").input_ids[:1]
        return [bos] if bos is not None and first == [bos] else []

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text that continues another text: a completion, a message, a suffix.

        They contain no special tokens; `<|endoftext|>` written in code stays plain text.
        """
        return self._encoded(self.codec.ids, texts)

    def first_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text that a model reads first, such as a prompt."""
        return self._encoded(self.codec.first_ids, texts)

    def _encoded(self, encode: Callable[[list[str]], list[list[int]]], texts: Sequence[str]) -> list[list[int]]:
        try:
            return encode(list(texts))
        except Exception as error:  # the Rust tokenizers raise a bare Exception
            raise UserError(_why_no_ids(texts, error)) from None

    def completion_ids(self, text: str) -> list[int]:
        """Return the ids of a completion, without end-of-sequence."""
        return self.ids([text])[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated ids, byte for byte: no clean-up of spaces, no special tokens."""
        return self.codec.decode(ids)

    def pair_ids(self, pair: Pair) -> list[int]:
        """Return the prompt ids of a pair.

        Raises:
            UserError: the pair needs fill-in-the-middle or a chat template, and the model has none.
        """
        if pair.prompt_format == "chat":
            return self._chat(self.ids([pair.prompt])[0])[0]
        return self.prompt_ids(pair.prompt, self._suffix(pair))

    def _suffix(self, pair: Pair) -> str | None:
        """Return the suffix that the model gets."""
        return None if self.prompt_only else pair.suffix

    def prompt_ids(self, prompt: str, suffix: str | None = None) -> list[int]:
        """Return the ids of a prompt, with its suffix if given.

        Raises:
            UserError: a suffix is given and the model has no fill-in-the-middle.
        """
        (prefix_ids,) = self.first_ids([prompt])
        return self._prompt(prefix_ids, self.ids([suffix])[0] if suffix is not None else None)[0]

    def _prompt(self, prefix: list[int], suffix: list[int] | None, suffix_first: bool = False) -> tuple[list[int], int]:
        """Return prompt ids within the limit, and the number of tokens cut."""
        if suffix is None:
            room = self._room(len(self.head))
            kept = prefix[-room:]
            # a model needs one token to start from: an empty prompt starts at a document boundary
            return self.head + kept or [self.eos_id], len(prefix) - len(kept)
        if self.fim is None:
            raise UserError(
                "this base model has no fill-in-the-middle sentinels; omit the suffix, or choose "
                "a base that has them (StarCoder2, Qwen2.5-Coder, CodeLlama, DeepSeek-Coder, data/base)."
            )
        room = self._room(len(self.head) + len(self.special))
        tail = suffix[
            : max(room // 4, room - len(prefix))
        ]  # the text before the cursor is more informative than the text after it
        kept = prefix[len(prefix) - min(len(prefix), room - len(tail)) :]
        pieces = {"prefix": kept, "suffix": tail}
        ids = list(self.head)
        for kind, value in self.fim.parts("prefix", "suffix", suffix_first):
            ids += [self.special[value]] if kind == "token" else pieces[value]
        return ids, len(prefix) + len(suffix) - len(kept) - len(tail)

    def _chat(self, message: list[int]) -> tuple[list[int], int]:
        """Return the ids of a user message in the model's chat template, and the number of its tokens cut.

        Only special tokens of the template are special; one written in the message stays text.
        """
        head, tail = self._chat_layout
        kept = message[-self._room(len(head) + len(tail)) :]
        return [*head, *kept, *tail], len(message) - len(kept)

    @functools.cached_property
    def _chat_layout(self) -> tuple[list[int], list[int]]:
        """The ids before and after a user message in the model's chat template."""
        return chat_template.around_message(self.tokenizer, self.codec)

    def _room(self, fixed: int) -> int:
        """Return how many tokens of text a prompt has room for besides the fixed ones.

        Raises:
            UserError: there is no room.
        """
        if self.max_prompt_tokens <= fixed:
            raise UserError(
                f"a prompt of at most {self.max_prompt_tokens} tokens has no room for text besides its {fixed} fixed "
                "tokens; raise --max_prompt_tokens, or lower --max_new_tokens if the context window is full."
            )
        return self.max_prompt_tokens - fixed

    def samples(self, pairs: Sequence[Pair], both_orders: bool = False) -> Iterator[Sample]:
        """Yield the sample of each pair, in order.

        With `both_orders`, the id of a pair decides whether its suffix comes first, for models that know both orders.
        """
        both_orders = both_orders and self.fim is not None and self.fim.both
        prompts = self.first_ids([pair.prompt for pair in pairs])
        messages = self.ids([pair.prompt if pair.prompt_format == "chat" else "" for pair in pairs])
        completions = self.ids([pair.completion for pair in pairs])
        suffixes = self.ids([self._suffix(pair) or "" for pair in pairs])
        rows = zip(pairs, prompts, messages, completions, suffixes, strict=True)
        for pair, before, message, middle, after in rows:
            if pair.prompt_format == "chat":
                prompt, cut = self._chat(message)
            else:
                suffix_first = both_orders and zlib.crc32(pair.id.encode("utf-8", "surrogatepass")) % 2 == 1
                prompt, cut = self._prompt(before, after if self._suffix(pair) is not None else None, suffix_first)
            end = [self.eos_id] if pair.finish_reason == "stop" else []
            ids = np.asarray(prompt + middle + end, dtype=np.int32)
            yield Sample(ids, len(prompt), cut, len(pair.completion.encode()), pair.path)


def _backend(tokenizer: Any) -> Any:
    """Return the `tokenizers.Tokenizer` of a Transformers tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path} has no tokenizer.json; choose a base with a fast tokenizer."
        )
    return backend


def _why_no_ids(texts: Sequence[str], error: Exception) -> str:
    """Return the error message for texts that a tokenizer cannot encode."""
    for text in texts:
        if half := re.search("[\ud800-\udfff]", text):
            around = text[max(half.start() - 20, 0) : half.end() + 20]
            return (
                f"a text contains a lone surrogate (not valid Unicode: {around!a}), from bytes that were not "
                "UTF-8 or an escape that was cut in two; repair or remove it."
            )
    return f"the tokenizer cannot encode a text ({first_line(error)}); get the tokenizer again, or choose another base."


def encode(
    pairs: Iterable[Pair],
    encoder: Encoder,
    max_length: int,
    enough_tokens: float = float("inf"),
    both_orders: bool = False,
) -> tuple[list[Sample], dict[str, int]]:
    """Encode pairs and count what becomes of them: read = trained + dropped by reason.

    Args:
        pairs: the examples.
        encoder: the tokenizer and its limit.
        max_length: longer samples are dropped and counted, since cutting one would lose the end of its completion.
        enough_tokens: stop encoding once the samples have this many tokens; further pairs are counted as not needed.
        both_orders: see `Encoder.samples`; only for training, since prompts at inference have one order.

    Returns:
        The samples and the counts.
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
    """Return rows of sample indices whose lengths sum to at most capacity (best-fit decreasing).

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
    """Return the width (at most capacity) and the rows of indices for which samples of these lengths cost least.

    Attention is computed over the whole row and masked afterwards, so a wide row costs more, but a narrow one is
    filled less well. In a layer of hidden size h, a token takes 24 h^2 operations for the matrices and 4 h w for
    attention over a row of w tokens, which is proportional to 6 h + w.
    """
    longest = max(lengths, default=1)
    widths = sorted({min(capacity, longest * halves // 2) for halves in (2, 3, 4, 6, 8)} | {capacity})
    found = [(width, pack(lengths, width)) for width in widths]
    return min(found, key=lambda way: max(len(way[1]), 1) * way[0] * (6 * hidden_size + way[0]))


def lay_out(samples: Sequence[Sample], capacity: int, pad_id: int) -> dict[str, np.ndarray]:
    """Put samples next to each other in one row.

    Returns:
        Arrays of shape (capacity,), int64: `input_ids`; `labels`, already shifted (labels[i] is the token to predict
        at position i, IGNORE where none is); `position_ids`, which restart in every sample and in the padding.
        And `weights` of the labels, float32.
    """
    row: dict[str, np.ndarray] = {
        "input_ids": np.full(capacity, pad_id, np.int64),
        "labels": np.full(capacity, IGNORE, np.int64),
        "position_ids": np.zeros(capacity, np.int64),
        "weights": np.ones(capacity, np.float32),
    }
    at = 0
    for sample in samples:
        end, first = at + len(sample.ids), sample.first_label
        middle = at + max(sample.start, 1) - 1
        row["input_ids"][at:end] = sample.ids
        row["labels"][at + first - 1 : end - 1] = sample.ids[first:]
        row["weights"][at:middle], row["weights"][middle:end] = sample.weights
        row["position_ids"][at:end] = np.arange(end - at)
        at = end
    row["position_ids"][at:] = np.arange(capacity - at)
    return row


def preview(sample: Sample, encoder: Encoder, colour: bool) -> str:
    """Return a sample for inspection: a header, and its text with what is read and what is trained told apart.

    In colour, the text that is only read is grey and the trained text green; without it a line separates the two.
    Special tokens are in brackets.
    """
    read, trained = sample.ids[: sample.start], sample.ids[sample.start :]
    ends = len(trained) > 0 and int(trained[-1]) in encoder.eos_ids
    part = f", and of the prompt {len(read)} with a weight of {sample.weights[0]:.2g}" if sample.weights[0] else ""
    facts = [console.counted(len(sample.ids), "token"), f"{len(trained)} trained{part}"]
    facts += [f"{console.counted(sample.cut, 'token')} cut on the left"] if sample.cut else []
    facts += ["ends with end-of-sequence" if ends else "has no end-of-sequence: its limit cut the completion"]
    header = f"=== {console.printable(sample.source or 'example')}: {', '.join(facts)}"
    if colour:
        text = f"{_painted(_spelled(read, encoder), GREY)}{_painted(_spelled(trained, encoder), GREEN)}"
        return f"{_painted(header, BOLD)}\n{text}\n"
    return f"{header}\n{_spelled(read, encoder)}\n  -- trained from here --\n{_spelled(trained, encoder)}\n"


BOLD, GREY, GREEN = "1", "90", "32"


def _painted(text: str, colour: str) -> str:
    return f"\033[{colour}m{text}\033[0m"


def _spelled(ids: np.ndarray, encoder: Encoder) -> str:
    """Return the text of token ids, shape (length,), int32, with its line breaks, and special tokens in brackets."""
    special = {*encoder.tokenizer.all_special_ids, *encoder.special.values(), *encoder.eos_ids}
    parts = []
    for is_special, run in itertools.groupby(map(int, ids), special.__contains__):
        if is_special:
            parts += [f"[{encoder.tokenizer.convert_ids_to_tokens(each)}]" for each in run]
        else:
            parts.append(encoder.codec.tokenizer.decode(list(run), skip_special_tokens=False))
    return console.printable_lines("".join(parts))


def counts(samples: Sequence[Sample]) -> dict[str, int]:
    """Return the numbers of samples, tokens and labels."""
    total: collections.Counter[str] = collections.Counter()
    for sample in samples:
        total.update(samples=1, tokens=len(sample.ids), label_tokens=len(sample.ids) - sample.first_label)
    return dict(total)
