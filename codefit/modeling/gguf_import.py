"""Read a GGUF file with Transformers and write it as an ordinary model folder. Run by codefit/gguf_base.py.

python -m codefit.modeling.gguf_import FILE FOLDER
"""

import dataclasses
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from codefit import cli, console, outputs
from codefit.errors import UserError, first_line
from codefit.manifest import Manifest
from codefit.modeling import pre_tokenizers


@dataclasses.dataclass(frozen=True)
class Header:
    """Metadata of a GGUF file: `quantisation` as llama.cpp names it (Q4_K_M), `licence` an SPDX id or ""."""

    architecture: str
    name: str
    licence: str
    quantisation: str
    tokenizer: str
    pre_tokenizer: str


ROPE_THETA = 10000  # what Transformers assumes, as llama.cpp does
PATIENCE = 1800  # seconds to wait for another run; a file of 7 B parameters takes minutes


def read_header(file: Path) -> Header:
    """Return the metadata of a GGUF file.

    Raises:
        UserError: it is damaged, not a GGUF file, or has settings that Transformers does not read.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(file)
        fields = reader.fields
        found = {key: field.contents() for key, field in fields.items() if not key.endswith((".tokens", ".merges"))}
    except (ValueError, OSError, KeyError, IndexError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(f"{file} is not a complete GGUF file ({first_line(error)}); download it again.") from None
    refuse_unread(file, found, [tensor.name for tensor in reader.tensors])
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


def refuse_unread(file: Path, found: Mapping[str, Any], tensors: Collection[str]) -> None:
    """Raise UserError for settings of the model that Transformers would ignore, so that it would compute another one.

    Args:
        file: the GGUF file.
        found: its metadata by key.
        tensors: names of its tensors.
    """
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    architecture = str(found.get("general.architecture", ""))
    read: Any = GGUF_CONFIG_MAPPING.get(architecture)
    if read is None:  # Transformers refuses it
        return
    own = {key.removeprefix(f"{architecture}."): value for key, value in found.items() if key.startswith(architecture)}
    ignored = [f"{key} = {value}" for key, value in own.items() if key not in read and _matters(key, value)]
    heads, width = own.get("attention.head_count"), own.get("embedding_length")
    rotated = own.get("rope.dimension_count")
    if rotated and read.get("rope.dimension_count") is None and isinstance(heads, int) and heads and width:
        whole = own.get("attention.key_length", width // heads)
        ignored += [f"rope.dimension_count = {rotated}"] if rotated != whole else []
    ignored += [name for name in tensors if name.startswith(("rope_freqs.", "rope_factors_"))]
    if ignored:
        raise UserError(
            f"{file} has settings that Transformers does not read ({', '.join(ignored)}), so its predictions would "
            "differ; name the original model's folder or Hub id."
        )


def _matters(key: str, value: Any) -> bool:
    """Return whether a setting that is not read can change predictions: sizes are also those of the tensors."""
    if key == "rope.dimension_count" or (key == "rope.freq_base" and value == ROPE_THETA):
        return False  # the first is compared with the size of a head
    return not key.endswith("_length") and key != "vocab_size" and value not in (0, 1, "", "none")


def read_tokenizer(file: Path, header: Header) -> Any:
    """Return the tokenizer of a GGUF file, with the pre-tokenizer that llama.cpp uses for it.

    Transformers reads the vocabulary and the merges but ignores the pre-tokenizer's name and always uses GPT-2's.

    Raises:
        UserError: the pre-tokenizer is not known.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    if header.tokenizer == "gpt2":
        splitter = pre_tokenizers.splitter(header.pre_tokenizer)
        if splitter is None:
            raise UserError(
                f"{file} uses a pre-tokenizer that codefit does not know ({header.pre_tokenizer or 'it has no name'}); "
                "name the folder or Hub id of the original model instead."
            )
        tokenizer.backend_tokenizer.pre_tokenizer = splitter
        tokenizer.backend_tokenizer.normalizer = None  # llama.cpp does not normalise; Transformers adds NFC for Qwen2
    return tokenizer


def read_model(file: Path, header: Header) -> Any:
    """Return the model of a GGUF file, dequantised to a dtype that can hold its weights.

    F32 and BF16 files keep their dtype; quantised weights are products of float16 scales and become float16.

    Raises:
        UserError: the file lacks tensors of the architecture.
    """
    import torch
    from transformers import AutoModelForCausalLM

    kept = {"F32": torch.float32, "BF16": torch.bfloat16}
    options: dict[str, Any] = {"gguf_file": file.name, "dtype": torch.float32, "output_loading_info": True}
    loaded: Any = AutoModelForCausalLM.from_pretrained(str(file.parent), **options)
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UserError(
            f"{file} lacks {console.counted(len(missing), 'tensor')} of its architecture ({missing[0]}, ...); "
            "download it again."
        )
    config = model.config
    del config.quantization_config  # a model that is marked as quantised cannot be saved
    config.name_or_path = header.name
    with torch.device("meta"):
        plain: Any = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    wanted = kept.get(header.quantisation, torch.float16)
    largest = max(float(weight.detach().abs().max()) for weight in plain.parameters())
    return plain.to(wanted if largest < torch.finfo(wanted).max else torch.float32)


def write_folder(file: Path, folder: Path) -> None:
    """Convert a GGUF file to a model folder, completely or not at all; if another run does so already, wait for it.

    Raises:
        UserError: it cannot be read, or Transformers does not support its architecture.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if outputs.workspace(folder).is_dir():
        console.show(f"{file.name}: another run has begun to dequantise it; waiting until that has ended", flush=True)
    with outputs.alone(folder, PATIENCE):
        if not folder.is_dir():  # the other run may have made it
            _convert(file, folder)


def _convert(file: Path, folder: Path) -> None:
    """Do the same as `write_folder`, alone and without an earlier result."""
    header = read_header(file)
    size = f"{file.stat().st_size / 1e6:,.0f} MB"
    console.show(f"{file.name}: {header.name} ({header.architecture}, {header.quantisation}, {size}), ", end="")
    console.show(f"licence {header.licence or 'not stated'}; dequantising it once", flush=True)
    with outputs.filled(folder) as work:
        manifest = Manifest({"file": str(file)})
        try:
            tokenizer = read_tokenizer(file, header)
            model = read_model(file, header)
        except (ValueError, OSError, KeyError, TypeError, RuntimeError, ImportError, NotImplementedError) as error:
            raise UserError(
                f"cannot read {file} as a model ({first_line(error)}); name the original model's folder or Hub id."
            ) from None
        if len(tokenizer) > model.config.vocab_size:
            raise UserError(
                f"{file} has {len(tokenizer)} tokens but only {model.config.vocab_size} embedding rows; "
                "download it again, or name the original model's folder or Hub id."
            )
        tokenizer.save_pretrained(work)
        model.save_pretrained(work)
        manifest.add_input(file)
        manifest.update(gguf=dataclasses.asdict(header), dtype=str(model.dtype).removeprefix("torch."))
        manifest.write(work)
    written = sum(path.stat().st_size for path in folder.iterdir())
    console.show(f"base model: {folder} ({model.num_parameters() / 1e6:,.1f} M parameters, {written / 1e6:,.0f} MB)")


def main() -> None:
    """Convert the file named on the command line."""
    write_folder(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    cli.run(main)
