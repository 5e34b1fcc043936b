"""The tokenizer of a model without the model: `tokenizer.json` read with the `tokenizers` package, no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit.cli import UserError, first_line

FILE = "tokenizer.json"


def load_tokenizer(name_or_path: str) -> Any:
    """Return the `tokenizers.Tokenizer` of a local folder or of a model on the Hub, with truncation and padding off.

    Raises:
        UserError: there is no tokenizer.json, it is damaged, or the Hub cannot be reached.
    """
    import tokenizers

    folder = Path(name_or_path).expanduser()
    path = folder / FILE if folder.is_dir() else _downloaded(name_or_path)
    if not path.is_file():
        raise UserError(f"{folder} holds no {FILE}; give the folder of a model with a fast tokenizer.")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust side raises a bare Exception
        raise UserError(f"{path} is no usable tokenizer ({error}); get it again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _downloaded(name: str) -> Path:
    """Return the path of a model's tokenizer.json in the Hub's local cache."""
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
    """Return for each text the character at which each of its tokens starts; all cores tokenise at once."""
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [[start for start, _ in encoding.offsets] for encoding in encodings]
