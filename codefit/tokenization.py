"""Exact tokenisation: text to token ids and back, byte for byte, with the tokenizer of any model. No torch.

Many tokenizers treat the beginning of a text specially: SentencePiece's add a space in front and remove it when they
decode. A completion is not the beginning of a text. It is encoded and decoded with the same tokenizer without that, and
without the composition of accents (NFC), which changes bytes; a prompt gets the space in front as text.
"""

import copy
import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any

from codefit.errors import UserError, first_line

MARK = "\u2581"  # SentencePiece's mark for a space; its decoders turn it into a space wherever it occurs
# A tokenizer that round-trips these texts is assumed to round-trip any text.
TRIALS = (
    *(" ", "x", " x", "    return x", "\tif a:\n\t\tb", "\n\n  x\n", "x \n", "\r\n", "a  b , c ( d )", "it's 12345 ."),
    *("Ab CD", "e\u0301 \u00e9 \u1100\u1161", "\ufb01 \uff21 \u2460", "\u00a0x\u3000\u200b\ufeff", "\x00\x1f\x7f"),
    *("\u65e5\u672c\u8a9e", "\U0001f600\U0001f469\u200d\U0001f4bb", MARK, f"{MARK}x {MARK}", "<s>x</s>", "[UNK] ## @@"),
)


@dataclasses.dataclass(frozen=True)
class Codec:
    """A tokenizer that treats every text as the continuation of another.

    Attributes:
        tokenizer: a `tokenizers.Tokenizer`; special tokens written in a text stay text.
        prefix: what the model's tokenizer adds in front of a text: "" or a space.
    """

    tokenizer: Any
    prefix: str

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text as the continuation of another text, without special tokens."""
        self.tokenizer.encode_special_tokens = True
        if self._mark_bytes and any(MARK in text for text in texts):
            return [self._ids_with_marks(text) for text in texts]
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def first_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text as a beginning, with what the model's tokenizer adds in front."""
        return self.ids([text and self.prefix + text for text in texts])

    def template_ids(self, text: str) -> list[int]:
        """Return the ids of a part of a chat template, in which special tokens are special."""
        self.tokenizer.encode_special_tokens = False
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids that continue a text, without special tokens."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _ids_with_marks(self, text: str) -> list[int]:
        """Return the ids of a text with every mark in it encoded as byte tokens."""
        first, *others = self.tokenizer.encode_batch_fast(text.split(MARK), add_special_tokens=False)
        return [*first.ids, *(number for piece in others for number in (*self._mark_bytes, *piece.ids))]

    @functools.cached_property
    def _mark_bytes(self) -> list[int]:
        """The byte tokens of the mark, if the mark would be decoded as a space; otherwise []."""
        alone = self.tokenizer.encode(MARK, add_special_tokens=False).ids
        numbers = [self.tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in MARK.encode()]
        return [] if self.decode(alone) == MARK or None in numbers else numbers


def codec(tokenizer: Any, name: str) -> Codec:
    """Return the codec of a `tokenizers.Tokenizer`.

    Raises:
        UserError: the tokenizer does not round-trip every text.
    """
    found = Codec(*continuing(tokenizer))
    try:
        back = [found.decode(ids) for ids in found.ids(TRIALS)]
    except Exception as error:  # the Rust code raises a bare Exception
        raise UserError(
            f"the tokenizer of {name} cannot encode every text ({first_line(error)}); choose another base model."
        ) from None
    for text, got in zip(TRIALS, back, strict=True):
        if got != text:
            raise UserError(
                f"the tokenizer of {name} does not round-trip every text ({text!a} becomes {got!a}), so completions "
                "cannot be measured; choose another base model."
            )
    return found


def continuing(tokenizer: Any) -> tuple[Any, str]:
    """Return a `tokenizers.Tokenizer` that treats no text as a beginning, and the prefix that the given one adds."""
    import tokenizers

    content = json.loads(tokenizer.to_str())
    before = json.dumps(content)
    prefix = _continue(content)
    if json.dumps(content) != before:
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, prefix


# ---------------------------------------------------------------------------------------------- tokenizer.json


def prefix_of(content: dict[str, Any]) -> str:
    """Return what a tokenizer puts in front of a text, by its tokenizer.json."""
    return _continue(copy.deepcopy(content))


def _continue(content: dict[str, Any]) -> str:
    """Change a tokenizer.json so that no text is treated as a beginning; return the prefix that it added."""
    prefix = ""
    changes = steps(content["normalizer"], "normalizers")
    for step in changes:
        if step["type"] == "Prepend":
            prefix = step["prepend"].replace(MARK, " ")
    kept = [step for step in changes if step["type"] not in ("Prepend", "NFC")]
    content["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    for step in steps(content["pre_tokenizer"], "pretokenizers"):
        if step["type"] == "Metaspace" and step["prepend_scheme"] != "never":
            prefix, step["prepend_scheme"] = " ", "never"
        elif step["type"] == "ByteLevel" and step["add_prefix_space"]:
            prefix, step["add_prefix_space"] = " ", False
    for step in steps(content["decoder"], "decoders"):
        if step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
        elif step["type"] == "Strip":
            step["start"] = 0
    for token in content["added_tokens"]:
        if not token["special"]:  # it may occur in a text with spaces around it
            token["lstrip"] = token["rstrip"] = False
    return prefix


def steps(part: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    """Return the steps of a component of a tokenizer.json: none, one or several."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [step for each in part[inner] for step in steps(each, inner)]
