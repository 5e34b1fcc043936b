"""How a tokenizer is written for llama.cpp: tokens, merges or scores, and the ids of its special tokens.

Byte-level BPE tokenizers are those of GPT-2's kin: merges, and the name of a way to split text. Tokenizers converted
from SentencePiece have a score for every token in place of merges; theirs are ranks of merges here, in the same order.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codefit import json_files, model_files, tokenization
from codefit.modeling.pre_tokenizers import DIGITS, GPT2, NAMES
from codefit.publishing import editors
from codefit.tokenization import MARK

LOOKS_WORDS_UP = "llama-bpe"
SENTENCEPIECE = "llama"  # llama.cpp's name of tokenizers with scores; the others are "gpt2"
BYTES = {f"<0x{byte:02X}>" for byte in range(256)}


def refusal(folder: Path) -> str | None:
    """Return why the tokenizer in a folder cannot be written for llama.cpp, as the start of a sentence; None if it can.

    Args:
        folder: of a model.
    """
    if _is_sentencepiece(folder):
        return (
            None if _scores_say_all(folder) else "llama.cpp's scores cannot express the order of the tokenizer's merges"
        )
    splitting = pre_tokenizer(folder)
    if splitting is None:
        return "llama.cpp has no pre-tokenizer that codefit can name for this tokenizer"
    if not _words_are_merged(folder, splitting):
        return (
            "the vocabulary has words that no merges produce, and llama.cpp does not follow the tokenizer's setting "
            "ignore_merges for them"
        )
    return None


# ---------------------------------------------------------------------------------------------- SentencePiece


def _is_sentencepiece(folder: Path) -> bool:
    """Return whether a tokenizer merges a whole text, in which spaces are marks, and falls back to bytes."""
    content = editors.read_tokenizer(folder)
    model = content["model"]
    if model["type"] != "BPE" or not model.get("byte_fallback") or not model["vocab"].keys() >= BYTES:
        return False
    normalizer, splitter = content.get("normalizer"), content.get("pre_tokenizer")
    changes = tokenization.steps(normalizer, "normalizers")
    marks = [step for step in changes if step["type"] == "Replace"]
    if any(step["type"] not in ("Prepend", "Replace") for step in changes):
        return False
    if any(step["pattern"] != {"String": " "} or step["content"] != MARK for step in marks):
        return False
    if splitter is None:
        return bool(marks)
    # Without `split`, or where no word goes on after a space, the whole text is merged as llama.cpp does.
    within = any(MARK in word[1:] for word in model["vocab"])
    return splitter["type"] == "Metaspace" and not (splitter.get("split", True) and within)


def _scores(model: dict[str, Any]) -> dict[str, float]:
    """Return the score of each word that merges lead to: the sooner it is merged, the higher."""
    scores: dict[str, float] = {}
    for left, right in _merges(model):
        scores.setdefault(left + right, -float(len(scores)))
    return scores


def _scores_say_all(folder: Path) -> bool:
    """Return whether llama.cpp merges as the tokenizer does: any two neighbours that form a word, the best word first.

    That is so where all pairs that make one word are merges, next to each other in their order.
    """
    model = editors.read_tokenizer(folder)["model"]
    made = [left + right for left, right in _merges(model)]
    borders = sum(here != there for here, there in itertools.pairwise(made))
    words, merges = model["vocab"], {*_merges(model)}
    pairs = {
        (word[:at], word[at:])
        for word in words
        if word not in BYTES
        for at in range(1, len(word))
        if word[:at] in words and word[at:] in words
    }
    special = {token["content"] for token in editors.read_tokenizer(folder).get("added_tokens") or []}
    return borders + 1 == len({*made}) and {pair for pair in pairs if "".join(pair) not in special} <= merges


def _merges(model: dict[str, Any]) -> list[tuple[str, str]]:
    merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges") or [])
    return [(left, right) for left, right in merges]


# ---------------------------------------------------------------------------------------------- byte-level BPE


def pre_tokenizer(folder: Path) -> str | None:
    """Return llama.cpp's name for the pre-tokenizer of a byte-level BPE tokenizer, None if it has no name for it."""
    content = editors.read_tokenizer(folder)
    step = content.get("pre_tokenizer") or {}
    steps = tuple(_steps(step.get("pretokenizers", [step])))
    usual = content["model"]["type"] == "BPE" and (content.get("normalizer") or {"type": "NFC"})["type"] == "NFC"
    return NAMES.get(steps) if usual else None


def _words_are_merged(folder: Path, splitting: str) -> bool:
    """Return whether llama.cpp finds the tokens of a word as the tokenizer does.

    It looks a word up in the vocabulary before it merges (ignore_merges) if the splitting is that of Llama 3, and never
    otherwise. Which of the two makes no difference where merges lead to every entry.
    """
    from tokenizers import models

    content = editors.read_tokenizer(folder)
    model = content["model"]
    if bool(model.get("ignore_merges")) == (splitting == LOOKS_WORDS_UP):
        return True
    merging = models.BPE(vocab=model["vocab"], merges=_merges(model))
    added = {token["content"] for token in content.get("added_tokens") or []}
    return all(len(merging.tokenize(word)) == 1 for word in model["vocab"] if word not in added)


def _steps(steps: list[dict[str, Any]]) -> Iterator[str]:
    for step in steps:
        if step.get("type") == "Split":
            yield step["pattern"].get("Regex", "") if step["behavior"] == "Isolated" else "another split"
        elif step.get("type") == "Digits":
            yield DIGITS if step["individual_digits"] else "runs of digits"
        elif step.get("type") != "ByteLevel" or step.get("add_prefix_space"):
            yield str(step.get("type"))
        elif step.get("use_regex", True):
            yield GPT2


# ---------------------------------------------------------------------------------------------- writing


def add(writer: Any, folder: Path, words: int) -> None:
    """Write a tokenizer into a GGUF file.

    Args:
        writer: a `gguf.GGUFWriter`.
        folder: of a model whose tokenizer is not refused.
        words: rows of the model's embedding.
    """
    content = editors.read_tokenizer(folder)
    texts = {number: text for text, number in content["model"]["vocab"].items()}
    texts |= {token["id"]: token["content"] for token in content.get("added_tokens") or []}
    writer.add_token_list([texts.get(number, f"[PAD{number}]") for number in range(words)])
    added = {token["id"]: bool(token.get("special")) for token in content.get("added_tokens") or []}
    writer.add_token_types(
        [_type_of(texts.get(number), added.get(number), content["model"]) for number in range(words)]
    )
    if _is_sentencepiece(folder):
        scores = _scores(content["model"])
        writer.add_tokenizer_model(SENTENCEPIECE)
        writer.add_tokenizer_pre("default")
        writer.add_token_scores([scores.get(texts.get(number, ""), 0.0) for number in range(words)])
        writer.add_add_space_prefix(bool(tokenization.prefix_of(content)))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre_tokenizer(folder))
        writer.add_token_merges([" ".join(merge) for merge in _merges(content["model"])])
    _add_special(writer, folder, {text: number for number, text in texts.items()})
    if template := _chat_template(folder):
        writer.add_chat_template(template)


def _chat_template(folder: Path) -> str | list[dict[str, str]] | None:
    """Return the chat template of the tokenizer in a folder, a list where it has several with names."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    path = folder / model_files.TOKENIZER_CONFIG
    template = json_files.read(path, model_files.TokenizerConfig, model_files.AGAIN).chat_template
    if not isinstance(template, list):
        return template
    return [{"name": each.name, "template": each.template} for each in template]


def _type_of(text: str | None, special: bool | None, model: dict[str, Any]) -> int:
    """Return llama.cpp's type of a token.

    Args:
        text: None for a row of the embedding without a token.
        special: None for a token that was not added.
        model: of the tokenizer.json.
    """
    from gguf import TokenType

    if text is None:
        return int(TokenType.UNUSED)
    if model.get("byte_fallback") and text in BYTES:
        return int(TokenType.BYTE)
    if text == model.get("unk_token"):
        return int(TokenType.UNKNOWN)
    if special is None:
        return int(TokenType.NORMAL)
    return int(TokenType.CONTROL if special else TokenType.USER_DEFINED)


def _add_special(writer: Any, folder: Path, ids: dict[str, int]) -> None:
    """Write the ids of the beginning, the end, padding and the sentinels, and whether a text gets a beginning."""
    import gguf
    from tokenizers import Tokenizer

    named = editors.special_tokens(folder)
    for role, text in named.items():
        if text in ids:
            getattr(writer, f"add_{role}_token_id")(ids[text])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if unknown := editors.read_tokenizer(folder)["model"].get("unk_token"):
        writer.add_unk_token_id(ids[unknown])
    first = tokenizer.encode("a").ids[:1]
    writer.add_add_bos_token(named["bos"] in ids and first == [ids[named["bos"]]])
    writer.add_add_eos_token(False)
    infill = editors.infill_format(folder)
    if infill:
        writer.add_uint32(gguf.Keys.Tokenizer.FIM_PRE_ID, ids[infill.prefix])
        writer.add_uint32(gguf.Keys.Tokenizer.FIM_SUF_ID, ids[infill.suffix])
    if infill and infill.middle:
        writer.add_uint32(gguf.Keys.Tokenizer.FIM_MID_ID, ids[infill.middle])
