"""Small tokenizers in the styles of known models, and some that lose text."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, WordLevel, WordPiece

from codefit.modeling import pre_tokenizers as splitting
from tests.support.texts import SOURCES

TEXTS_TO_LEARN = [path.read_text(encoding="utf-8") for path in SOURCES][:12]
SPECIAL = ["<unk>", "<s>", "</s>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPACES = decoders.Replace("\u2581", " ")


def sentencepiece(normalizer=None, splitter=None, strip=True, special=SPECIAL):
    """A tokenizer with byte fallback, as those converted from SentencePiece."""
    made = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    learn = trainers.BpeTrainer(vocab_size=900, special_tokens=[*special, *BYTES], show_progress=False)
    made.train_from_iterator(TEXTS_TO_LEARN, learn)
    content = json.loads(made.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in BYTES]
    content["model"]["merges"] = merges_of_scores(content["model"])
    made = Tokenizer.from_str(json.dumps(content))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    ends = [decoders.Strip(" ", 1, 0)] if strip else []
    made.decoder = decoders.Sequence([SPACES, decoders.ByteFallback(), decoders.Fuse(), *ends])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def merges_of_scores(model):
    """Return the merges that a converter writes for scores: all pairs that make a word, the best word first."""
    words = dict.fromkeys("".join(merge) for merge in model["merges"])
    pairs = ((word[:at], word[at:]) for word in words for at in range(1, len(word)))
    return [[left, right] for left, right in pairs if left in model["vocab"] and right in model["vocab"]]


def byte_level(*steps, normalizer=None, prefix=False):
    """A tokenizer of bytes, as those of GPT-2's kin."""
    made = Tokenizer(BPE())
    made.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not steps)
    made.pre_tokenizer = pre_tokenizers.Sequence([*steps, last])
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learn = trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS_TO_LEARN, learn)
    return made


def splits(*patterns):
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]


def legacy():
    return normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])


def spaces_within_tokens():
    made = byte_level()
    made.add_tokens([AddedToken("    ", normalized=False), AddedToken("<extra>", lstrip=True, rstrip=True)])
    return made


def metaspace(scheme):
    return lambda: sentencepiece(splitter=pre_tokenizers.Metaspace(prepend_scheme=scheme))


STYLES = {
    "Llama 2 and CodeLlama": lambda: sentencepiece(legacy()),
    "Metaspace, always": metaspace("always"),
    "Metaspace, first": metaspace("first"),
    "Metaspace, never": lambda: sentencepiece(splitter=pre_tokenizers.Metaspace(prepend_scheme="never"), strip=False),
    "Gemma": lambda: sentencepiece(normalizers.Replace(" ", "\u2581"), strip=False),
    "GPT-2": byte_level,
    "RoBERTa, with a space in front": lambda: byte_level(prefix=True),
    "Qwen 2, NFC": lambda: byte_level(*splits(splitting.QWEN2), normalizer=normalizers.NFC()),
    "Llama 3": lambda: byte_level(*splits(splitting.LLAMA3)),
    "DeepSeek": lambda: byte_level(*splits(*splitting.DEEPSEEK), pre_tokenizers.Digits(True)),
    "StarCoder, digits": lambda: byte_level(pre_tokenizers.Digits(True), *splits(r"\s?\p{L}+")),
    "Phi, runs of spaces": spaces_within_tokens,
}


def word_piece():
    made = Tokenizer(WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        TEXTS_TO_LEARN, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[UNK]"], show_progress=False)
    )
    return made


def words():
    made = Tokenizer(WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(TEXTS_TO_LEARN, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return made


def without_bytes():
    made = sentencepiece(legacy())
    content = json.loads(made.to_str())
    content["model"]["byte_fallback"] = False
    return Tokenizer.from_str(json.dumps(content))


LOSSY = {
    "WordPiece": word_piece,
    "words": words,
    "no byte fallback": without_bytes,
    "NFKC": lambda: byte_level(normalizer=normalizers.NFKC()),
    "lower case": lambda: byte_level(normalizer=normalizers.Lowercase()),
    "no decoder": lambda: Tokenizer.from_str(json.dumps({**json.loads(byte_level().to_str()), "decoder": None})),
}
