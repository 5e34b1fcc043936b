"""Read a GGUF file through Transformers and write it as an ordinary model folder. Run by codefit/gguf_base.py.

python -m codefit.modeling.gguf_import FILE FOLDER
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from codefit import cli, outputs
from codefit.errors import UserError, first_line
from codefit.manifest import Manifest
from codefit.modeling import pre_tokenizers


@dataclasses.dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself: `quantisation` as llama.cpp names it (Q4_K_M), `licence` an SPDX id or ""."""

    architecture: str
    name: str
    licence: str
    quantisation: str
    tokenizer: str
    pre_tokenizer: str


def read_header(file: Path) -> Header:
    """Return what a file says of itself.

    Raises:
        UserError: it is damaged, or no GGUF file.
    """
    import gguf

    try:
        fields = gguf.GGUFReader(file).fields
        found = {key: field.contents() for key, field in fields.items() if not key.endswith((".tokens", ".merges"))}
    except (ValueError, OSError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(f"{file} is not a whole GGUF file ({first_line(error)}); get it again.") from None
    try:
        kind = gguf.LlamaFileType(int(found.get("general.file_type", -1))).name.removeprefix("MOSTLY_")
    except (ValueError, TypeError):
        kind = "an unknown kind"
    return Header(
        architecture=str(found.get("general.architecture", "")),
        name=str(found.get("general.name", "")) or file.stem,
        licence=str(found.get("general.license", "")),
        quantisation=kind.removeprefix("ALL_"),
        tokenizer=str(found.get("tokenizer.ggml.model", "")),
        pre_tokenizer=str(found.get("tokenizer.ggml.pre", "")),
    )


def read_tokenizer(file: Path, header: Header) -> Any:
    """Return the tokenizer of a file, splitting text as llama.cpp does for it.

    Transformers reads vocabulary and merges but not the name of the splitting, and always splits as GPT-2 does.

    Raises:
        UserError: the way in which it splits text is not known.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    if header.tokenizer == "gpt2":
        splitter = pre_tokenizers.splitter(header.pre_tokenizer)
        if splitter is None:
            raise UserError(
                f"{file} splits text in a way that codefit does not know ({header.pre_tokenizer or 'it has no name'}); "
                "name the folder or Hub id of the original model instead."
            )
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
        tokenizer.backend_tokenizer.normalizer = None  # llama.cpp does not normalise; Transformers adds NFC for Qwen2
    return tokenizer


def read_model(file: Path, header: Header) -> Any:
    """Return the model of a file, its weights dequantised to a dtype that holds them.

    F32 and BF16 files keep their dtype; quantised weights are products of float16 scales and become float16.

    Raises:
        UserError: tensors of the architecture are missing in the file.
    """
    import torch
    from transformers import AutoModelForCausalLM

    kept = {"F32": torch.float32, "BF16": torch.bfloat16}
    options: dict[str, Any] = {"gguf_file": file.name, "dtype": torch.float32, "output_loading_info": True}
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(file.parent), **options)
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"{file} lacks {len(missing)} tensors of its architecture ({missing[0]}, ...); get it again.")
    config = model.config
    del config.quantization_config  # a model that is marked as quantised cannot be saved
    config.name_or_path = header.name
    with torch.device("meta"):
        plain: Any = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    wanted = kept.get(header.quantisation, torch.float16)
    largest = max(float(weight.abs().max()) for weight in plain.parameters())
    return plain.to(wanted if largest < torch.finfo(wanted).max else torch.float32)


def write_folder(file: Path, folder: Path) -> None:
    """Write a GGUF file as a model folder, whole or not at all.

    Raises:
        UserError: it cannot be read, or is of an architecture that Transformers cannot read.
    """
    header = read_header(file)
    size = f"{file.stat().st_size / 1e6:,.0f} MB"
    print(f"{file.name}: {header.name} ({header.architecture}, {header.quantisation}, {size}), ", end="")
    print(f"licence {header.licence or 'not stated'}; it is dequantised once", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with outputs.new_directory(folder) as work:
        manifest = Manifest({"file": str(file)})
        try:
            tokenizer = read_tokenizer(file, header)
            model = read_model(file, header)
        except (ValueError, OSError, KeyError, TypeError, RuntimeError, ImportError, NotImplementedError) as error:
            raise UserError(
                f"cannot read {file} as a model ({first_line(error)}); name the original model's folder or Hub id."
            ) from None
        if len(tokenizer) > model.config.vocab_size:
            raise UserError(f"{file} has {len(tokenizer)} tokens and an embedding of {model.config.vocab_size} rows.")
        tokenizer.save_pretrained(work)
        model.save_pretrained(work)
        manifest.add_input(file)
        manifest.update(gguf=dataclasses.asdict(header), dtype=str(model.dtype).removeprefix("torch."))
        manifest.write(work)
    written = sum(path.stat().st_size for path in folder.iterdir())
    print(f"base model: {folder} ({model.num_parameters() / 1e6:,.1f} M parameters, {written / 1e6:,.0f} MB)")


def main() -> None:
    """Convert the file of the command line."""
    write_folder(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    cli.run(main)
