"""Makes the tiny inputs of all stages: sources, documents, pairs, a random base, an adapter, a benchmark."""

import io
import os
import random
import subprocess
import tarfile
import zipfile
from pathlib import Path

from codefit.records import Document, write_jsonl

VERBS, NOUNS = ("load", "store", "merge", "split", "count"), ("Tree", "Table", "Index", "Chart", "Frame", "Stream")
NAMES = [f"{verb}{noun}" for verb in VERBS for noun in NOUNS]
TRAINING = [
    *("--model_name_or_path", "../inputs/base", "--dataset", "../inputs/pairs", "--max_length", "128"),
    *("--max_prompt_tokens", "48", "--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "1"),
    *("--learning_rate", "1e-2", "--logging_steps", "1", "--eval_predictions", "0", "--validation_samples", "2"),
    *("--max_steps", "3", "--save_steps", "1", "--eval_steps", "3", "--lora_r", "2"),
]
ASKING = [
    *("--sample", "3", "--max_new_tokens", "4", "--max_prompt_tokens", "40", "--tokens_per_batch", "200"),
    *("--dataset", "../inputs/pairs"),
]
PREPARING = [
    *("--model_name_or_path", "../inputs/base", "--profile", "light", "--num_workers", "1"),
    *("--max_prompt_tokens", "48", "--max_completion_tokens", "16", "--max_pairs_per_file", "2"),
]


def kotlin(seed: int) -> str:
    """Return a file of functions that no other seed gives."""
    chance = random.Random(seed)
    functions = []
    for number in range(6):
        names = [chance.choice(NAMES) for _ in range(6)]
        functions.append(
            f"fun {names[0]}{number}({names[1]}: Int, {names[2]}: String): Int {{\n"
            f"    val {names[3]} = {names[4]}({names[1]}, {names[2]}.length + {chance.randrange(1000)})\n"
            f"    return {names[3]} + {names[5]}()\n}}\n"
        )
    return f"package demo{seed}\n\n" + "\n".join(functions)


def sources(folder: Path, count: int = 8) -> None:
    """Make a folder, a tar, a zip and a git bundle of the same files, with a licence and a page of documentation."""
    files = {f"src/d{n % 3}/File{n}.kt": kotlin(n) for n in range(count)}
    files |= {"LICENSE": "MIT License\n\nPermission is hereby granted, free of charge\n", "README.md": "# demo\n"}
    for name, text in files.items():
        (folder / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "project" / name).write_text(text)
    with tarfile.open(folder / "tarred.tar.gz", "w:gz") as tar, zipfile.ZipFile(folder / "zipped.zip", "w") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(f"tarred/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
            packed.writestr(f"zipped/{name}", text, zipfile.ZIP_DEFLATED)
    bundle(folder / "project", folder / "bundled.bundle")


def bundle(project: Path, path: Path) -> None:
    """Commit a folder in a repository elsewhere, and write that as a bundle."""
    repository = path.with_suffix(".git")
    place = {"GIT_DIR": str(repository), "GIT_WORK_TREE": str(project), "GIT_CONFIG_GLOBAL": os.devnull}
    who = {f"GIT_{role}_{field}": "a" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}
    when = {f"GIT_{role}_DATE": "2020-02-02T02:02:02+00:00" for role in ("AUTHOR", "COMMITTER")}
    commands = (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["commit", "-q", "-m", "a"],
        ["config", "core.bare", "true"],
        ["config", "uploadpack.allowFilter", "true"],
        ["config", "uploadpack.allowAnySHA1InWant", "true"],
    )
    for words in (*commands, ["bundle", "create", "-q", str(path), "HEAD", "main"]):
        subprocess.run(["git", *words], env={**os.environ, **place, **who, **when}, check=True, capture_output=True)


def documents(folder: Path) -> None:
    """Write the same documents as JSON Lines and as Parquet."""
    from codefit.sources.journal import write_parquet

    found = [Document(kotlin(n), f"src/d{n % 4}/File{n}.kt", "me/one") for n in range(16)]
    write_jsonl(folder / "documents.jsonl", found)
    write_parquet(folder / "documents.parquet", found, 4)


def base(folder: Path) -> None:
    """Make a random two-layer Llama and its tokenizer."""
    import torch

    from codefit.training import scratch

    tokenizer = scratch.train_tokenizer((kotlin(n) for n in range(20)), 400, 256)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 32, "context": 256}
    scratch.new_model(tokenizer, **size, std=0.3).save_pretrained(folder / "base")  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder / "base")


def stages(output: str) -> dict[str, tuple[str, list[str]]]:
    """Return by name a command that makes an input of the stages after it, in this order."""
    adapter = ["--hf_repository", "../inputs/adapter"]
    return {
        "pairs": ("preprocess_data", ["--input", "../inputs/documents.jsonl", *PREPARING, "--output", output]),
        "whole": (
            "preprocess_data",
            ["--input", "../inputs/documents.jsonl", *PREPARING, "--task", "document", "--output", output],
        ),
        "adapter": ("train", [*TRAINING, "--output_dir", output]),
        "merged": ("merge_lora", [*adapter, "--output_dir", output, "--gguf"]),
        "benchmark": ("benchmarking", [*adapter, *ASKING, "--output_dir", output]),
    }
