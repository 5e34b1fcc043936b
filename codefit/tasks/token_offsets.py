"""Token positions in a text: `tokenizer.json` is read with the `tokenizers` package, without torch or a model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codefit import json_files, model_files, tokenization
from codefit.errors import UserError, first_line
from codefit.gguf_base import local_model

FILE = model_files.TOKENIZER
PIECE = 1 << 14  # characters tokenised at once
TAIL = 16  # tokens at the end of a piece that could differ in the whole text


def load_tokenizer(name_or_path: str) -> Any:
    """Return the `tokenizers.Tokenizer` of a folder, GGUF file or Hub model, for texts that continue another text.

    Raises:
        UserError: there is no tokenizer.json, it is damaged or loses text, or the Hub cannot be reached.
    """
    import tokenizers

    folder = Path(local_model(name_or_path)).expanduser()
    path = folder / FILE if folder.is_dir() else _downloaded(name_or_path)
    if not path.is_file():
        raise UserError(f"{folder} has no {FILE}; give a model with a fast tokenizer.")
    model_files.check_tokenizer(path.parent)
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the Rust code raises a bare Exception, and a panic is a BaseException
        raise UserError(f"{path} is not a usable tokenizer ({first_line(error)}); get it again.") from None
    return tokenization.codec(tokenizer, name_or_path).tokenizer


def context_of(name_or_path: str) -> int | None:
    """Return how many tokens a model can read, from its config.json; None if it does not say.

    Raises:
        UserError: the file is damaged.
    """
    folder = Path(local_model(name_or_path)).expanduser()
    path = folder / model_files.CONFIG if folder.is_dir() else _config_on_hub(name_or_path)
    if path is None or not path.is_file():
        return None
    config = json_files.load(path, "get it again")
    parts = [config, config.get("text_config")] if isinstance(config, dict) else []
    sizes = [part.get(name) for part in parts if isinstance(part, dict) for name in model_files.CONTEXTS]
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)


def _config_on_hub(name: str) -> Path | None:
    """Return the path of a model's config.json in the local Hub cache; None without one."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(huggingface_hub.hf_hub_download(name, model_files.CONFIG))
    except (HfHubHTTPError, OSError, ValueError):
        return None


def _downloaded(name: str) -> Path:
    """Return the path of a model's tokenizer.json in the local Hub cache."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(huggingface_hub.hf_hub_download(name, FILE))
    except HFValidationError:
        raise UserError(
            f"{name} is neither a folder nor the id of a model on the Hub; check --model_name_or_path."
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"cannot get {FILE} of {name} from the Hub ({reason}); give a local model folder.") from None


def token_starts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return, for each text, the character at which each of its tokens starts.

    A long text is tokenised in pieces, since the tokenizer needs about 180 bytes per character. The tokens are those of
    the whole text: a piece ends where the tokenizer starts a new word.
    """
    tokenizer.encode_special_tokens = True  # as in training: a special token written in a text stays text
    try:
        return [list(_starts(tokenizer, text)) for text in texts]
    except Exception as error:  # the Rust code raises a bare Exception
        raise UserError(
            f"the tokenizer cannot encode a text ({first_line(error)}); choose another with --model_name_or_path."
        ) from None


def _starts(tokenizer: Any, text: str) -> Iterator[int]:
    at, size = 0, PIECE
    while at + size < len(text):
        piece = text[at : at + size]
        encoding = tokenizer.encode(piece, add_special_tokens=False)
        offsets = encoding.offsets
        tokens = _certain(piece, offsets, encoding.word_ids)
        yield from (at + start for start, _ in offsets[:tokens])
        at, size = (at + offsets[tokens][0], PIECE) if tokens else (at, 2 * size)
    encoding = tokenizer.encode(text[at:], add_special_tokens=False)
    yield from (at + start for start, _ in encoding.offsets)


def _certain(piece: str, offsets: Sequence[tuple[int, int]], words: Sequence[int | None]) -> int:
    """Return how many tokens do not depend on what follows: those before the last words that begin with a space.

    A word is a unit that the tokenizer encodes separately. If there are no words, or if the space is not part of the
    word, no position is certain.
    """
    for token in range(len(offsets) - TAIL, 0, -1):
        start, end = offsets[token]
        if words[token] != words[token - 1] and start < end and piece[start] == " ":
            return token
    return 0
