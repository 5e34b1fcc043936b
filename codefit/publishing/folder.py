"""The folder of GGUF files next to a model, with editor settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit import console, outputs
from codefit.manifest import Manifest, read_manifest, sha256
from codefit.publishing import editors, gguf, llama_cpp

NO_INFILL = (
    "the model has no fill-in-the-middle, which llama.vscode and llama.vim need; other editors complete forward only"
)

NOT_TRIED = "not checked in llama.cpp, since xllamacpp is not installed"


def beside(output: Path) -> Path:
    """Return the folder for the GGUF files of a model."""
    return output.with_name(f"{output.resolve().name}-gguf")


def refuse(output: Path, overwrite: bool) -> None:
    """Raise UserError, before any work, if the folder for the GGUF files exists and may not be replaced."""
    target = beside(output)
    if target.is_symlink() or target.exists():
        outputs.refuse_existing(target, overwrite or "made_of" in read_manifest(target))


def write(
    model: Path,
    output: Path,
    repository: str | None,
    *,
    kinds: Sequence[str],
    overwrite: bool,
    flags: Mapping[str, Any],
) -> None:
    """Write the GGUF files of a full model unless they already exist, and print how to serve them.

    Args:
        model: the folder of the model.
        output: the folder next to which the files go.
        repository: the Hub repository of the model, which names the files; otherwise the parent of `output` does.
        kinds: kinds of GGUF files.
        overwrite: whether existing files are written again.
        flags: the flags of the command, for the manifest.

    Raises:
        UserError: as for `gguf.write`, or the folder exists and may not be replaced.
    """
    target = beside(output)
    made_of = {file.name: sha256(file) for file in sorted(model.glob("model*.safetensors"))}
    there = {} if overwrite else read_manifest(target)
    name = (repository or str(output.resolve().parent)).split("/")[-1]
    files = [f"{name}-{kind.upper()}.gguf" for kind in kinds]
    infill, context = editors.infill_format(model), gguf.context_of(gguf.read_config(model))
    if (there.get("made_of"), there.get("files")) == (made_of, files) and not overwrite:
        console.show("already exported; nothing to do.")
    else:
        replace = overwrite or "made_of" in there
        outputs.refuse_existing(target, replace)
        manifest = Manifest(flags)
        with outputs.new_directory(target, replace) as work:
            for kind, file in zip(kinds, files, strict=True):
                gguf.write(model, work / file, kind, name)
                if llama_cpp.is_installed():
                    llama_cpp.refuse_another_model(work / file, kind, model)
            editors.write(work, files[0], name, infill, editors.special_tokens(model)["eos"], context)
            manifest.update(made_of=made_of, files=files, infill=infill.name if infill else None, context=context)
            manifest.write(work)
        tried = (
            "checked in llama.cpp: the same tokens and completions as the model"
            if llama_cpp.is_installed()
            else NOT_TRIED
        )
        console.show(f"\n{', '.join(files)}: {tried}")
    console.show(f"\nexported {target}" + ("" if infill else f"\n         {NO_INFILL}"))
    console.show(f"serve:   {editors.server_command(['-m', str(target / files[0])], infill, context)}")
