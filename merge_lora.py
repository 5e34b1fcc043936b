"""Merge an adapter into its base model, check that nothing was lost, and push the result on request.

The base model, its revision and its quantisation are read from the files of train.py, so one argument is enough:

    python merge_lora.py outputs/kotlin/adapter

    python merge_lora.py me/kotlin-phi --output_dir outputs/kotlin/merged --push
    python merge_lora.py outputs/kotlin/adapter --gguf q8_0 --scores outputs/kotlin/benchmark --push

A base that was loaded in 4 bits for training is dequantised and merged in float32. The merged model is saved, loaded
again, and must predict what the adapter predicts; if it does not, nothing is kept or pushed. --gguf writes files for
llama.cpp and Ollama, with editor settings, into a folder next to it.
"""

import argparse
import dataclasses
import gc
import itertools
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codefit import cli, console, gguf_base, outputs, records
from codefit.errors import UserError
from codefit.manifest import ROOT, Manifest, read_manifest, sha256
from codefit.model_files import ADAPTER_WEIGHTS, GGUF_KINDS
from codefit.records import MAX_PROMPT_TOKENS, Pair
from codefit.training import run_folder

if TYPE_CHECKING:
    from codefit.publishing import cards

PROBES = 16  # prompts on which the merged model and the adapter are compared
PROBE_TEXT = ROOT / "data" / "probe.txt"  # source for prompts without a data set; it never changes
NEW_TOKENS = 32  # tokens of a completion

# Largest KL divergence of the merged model from the adapter, as a share of the adapter's own divergence from its base.
# Rounding to bfloat16 costs a well-trained adapter far less. A larger loss means a failed merge, or an adapter so small
# that only float32 keeps it.
LOST_SHARE = 0.02
FLOOR = 1e-6  # nats; float32 results depend on the order of operations

UNITS = {"MB": 10**6, "GB": 10**9}


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    parser.add_model("read from here: the folder of an adapter, or its Hub id", default=run_folder.OUTPUT)
    add("--model_name_or_path", type=cli.named, help="base model (default: the one that the adapter's metadata name)")
    add("--output_dir", type=Path, help="folder for the merged model (default: merged, next to the adapter)")
    add("--max_shard_size", type=size, default="5GB", help="largest file of weights, such as 500MB or 5GB")
    add(
        "--gguf",
        nargs="*",
        choices=GGUF_KINDS,
        help="also write GGUF files for llama.cpp and editors; q8_0 if none is named",
    )
    add("--push", action="store_true", help="push the result to the Hub repository of the adapter")
    add("--private", action="store_true", help="push only to a private repository; a new one is private")
    add("--scores", type=Path, help="folder of this model's benchmark results, for the model card")
    cli.add_output_flags(parser)
    return parser


def size(text: str) -> int:
    """Return the bytes of a size such as 500MB or 5GB."""
    match = re.fullmatch(r"([1-9]\d*)(MB|GB)", text.strip().upper())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write it as 500MB or 5GB")
    return int(match[1]) * UNITS[match[2]]


@dataclasses.dataclass(frozen=True, slots=True)
class MergeSettings:
    """The settings of a run.

    Attributes:
        name: the adapter: a folder or a Hub id.
        base: base model to use instead of the one that the adapter names.
        output: folder for the merged model.
        max_shard_size: largest file of weights, in bytes.
        gguf: kinds of GGUF files to write.
        push: whether to push the result to the Hub.
        private: whether to push only to a private repository.
        scores: folder of benchmark results, for the model card.
        overwrite: whether to replace an existing output.
        dry_run: whether to only say what would happen.
        flags: the flags as given, for the manifest.
    """

    name: str
    base: str | None
    output: Path
    max_shard_size: int
    gguf: tuple[str, ...]
    push: bool
    private: bool
    scores: Path | None
    overwrite: bool
    dry_run: bool
    flags: Mapping[str, Any]

    @classmethod
    def of(cls, args: argparse.Namespace, is_whole: bool) -> "MergeSettings":
        """Return what a command line asks for; a whole model is not merged, and its GGUF files go next to it."""
        name = args.hf_repository
        return cls(
            name=name,
            base=args.model_name_or_path,
            output=args.output_dir or (Path(name) if is_whole else outputs.next_to(name, "merged")),
            max_shard_size=args.max_shard_size,
            gguf=() if args.gguf is None else tuple(args.gguf or GGUF_KINDS[:1]),
            push=args.push,
            private=args.private,
            scores=args.scores,
            overwrite=args.overwrite,
            dry_run=args.dry_run,
            flags=vars(args),
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """The adapter, its base model, and how the adapter was trained."""

    adapter: Path
    base: str
    revision: str | None
    load_in_4bit: bool
    dtype: str
    dataset: str | None
    max_prompt_tokens: int
    repository: str | None


def make_plan(name: str, base: str | None = None) -> Plan:
    """Read base model, revision and quantisation from the adapter's files; `base` overrides the one that they name.

    Raises:
        UserError: there is no adapter of this name.
    """
    from codefit.modeling import hub_files

    adapter = hub_files.adapter_folder(name)
    base, revision = hub_files.base_of(str(adapter), base)
    manifest = read_manifest(adapter)
    arguments = manifest.get("arguments", {})
    return Plan(
        adapter=adapter,
        base=base,
        revision=revision,
        load_in_4bit=bool(manifest.get("load_in_4bit")),
        dtype=(manifest.get("dtype") or "float32").removeprefix("torch."),
        dataset=manifest.get("dataset"),
        max_prompt_tokens=manifest.get("max_prompt_tokens") or MAX_PROMPT_TOKENS,
        repository=arguments.get("hf_repository") if Path(name).is_dir() else name,
    )


# ---------------------------------------------------------------------------------------------- merge and check


@dataclasses.dataclass(frozen=True)
class ProbeOutputs:
    """The outputs of a model for the probe prompts: next-token log-probabilities, and the first completions as text.

    `log_probabilities` is a float32 tensor of shape (prompts, vocabulary).
    """

    log_probabilities: Any
    completions: list[str]


def probe_prompts(plan: Plan, encoder: Any) -> list[list[int]]:
    """Return the token ids of PROBES prompts, from validation pairs or from growing parts of PROBE_TEXT."""
    file = Path(plan.dataset or "") / "validation.jsonl"
    if plan.dataset and file.is_file():
        pairs = itertools.islice(records.read_jsonl(file, Pair), PROBES)
        return [
            encoder.pair_ids(dataclasses.replace(pair, prompt=pair.prompt or pair.completion[:200])) for pair in pairs
        ]
    lines = PROBE_TEXT.read_text(encoding="utf-8").splitlines(keepends=True)
    return [encoder.prompt_ids("".join(lines[: 4 * (n + 1)])) for n in range(PROBES)]


def probe(model: Any, encoder: Any, prompts: list[list[int]]) -> ProbeOutputs:
    """Return the outputs of a model for the probe prompts."""
    from codefit.generation import batched, likelihood

    completions = batched.generate(
        model,
        prompts,
        max_new_tokens=NEW_TOKENS,
        eos_ids=encoder.eos_ids,
        pad_id=encoder.pad_id,
    )
    return ProbeOutputs(
        likelihood.next_token_log_probabilities(model, prompts), [encoder.decode(each.ids) for each in completions]
    )


def probe_adapter(base: Any, plan: Plan, encoder: Any, prompts: list[list[int]]) -> tuple[Any, ProbeOutputs]:
    """Return the log-probabilities of the base alone, and the outputs of base and adapter, quantised as in training."""
    import torch

    from codefit.generation import likelihood
    from codefit.modeling import loading

    dtype = base.dtype if base.load_in_4bit else torch.float32
    model = loading.load_model(base.name, revision=base.revision, load_in_4bit=base.load_in_4bit, dtype=dtype)
    model = loading.attach_adapter(model, str(plan.adapter))
    if not loading.can_be_merged(model):
        raise UserError(
            f"{plan.adapter} has biases (lora_bias) for layers that have none in {plan.base}, so it cannot be merged; "
            "serve it with PEFT instead."
        )
    with model.disable_adapter():
        base_only = likelihood.next_token_log_probabilities(model, prompts)
    return base_only, probe(model, encoder, prompts)


def probe_merged(folder: Path, encoder: Any, prompts: list[list[int]]) -> ProbeOutputs:
    """Return the outputs of the model in a folder for the probe prompts."""
    import torch

    from codefit.modeling import loading

    return probe(loading.load_model(str(folder), dtype=torch.float32), encoder, prompts)


def merge(plan: Plan, work: Path, shard_bytes: int) -> dict[str, Any]:
    """Write the merged model to `work`, in bfloat16 if that keeps the adapter, else in float32; return measurements.

    Raises:
        UserError: the merged model, loaded from disk, does not predict what the adapter predicts.
    """
    import torch

    from codefit.encoding import Encoder
    from codefit.modeling import hub_files, loading, merging

    tokenizer = loading.load_tokenizer_of(str(plan.adapter), plan.base, plan.revision)
    if rows := hub_files.vocabulary_rows(plan.base, plan.revision):
        loading.fit_tokens(tokenizer, max(rows, hub_files.rows_of(str(plan.adapter))), plan.base)
    ends = loading.end_ids(tokenizer, (str(plan.adapter), None), (plan.base, plan.revision))
    encoder = Encoder(tokenizer, plan.max_prompt_tokens, ends=ends)
    prompts = probe_prompts(plan, encoder)
    base = merging.Base(plan.base, plan.revision, plan.load_in_4bit, getattr(torch, plan.dtype))
    base_only, adapted = probe_adapter(base, plan, encoder, prompts)
    effect, _ = merging.divergence(adapted.log_probabilities, base_only)
    allowed = max(LOST_SHARE * effect, FLOOR)
    measured: list[dict[str, Any]] = []
    for dtype in (torch.bfloat16, torch.float32):
        gc.collect()  # models hold reference cycles; free one before the next is loaded
        merging.write_merged(base, str(plan.adapter), tokenizer, work, dtype, shard_bytes)
        gc.collect()
        merged = probe_merged(work, encoder, prompts)
        measured.append({"dtype": str(dtype).removeprefix("torch."), **compare(adapted, merged)})
        if measured[-1]["kl_to_adapter"] <= allowed:
            break
    report(measured, effect, allowed, len(prompts))
    distance = measured[-1]["kl_to_adapter"]
    if not distance <= allowed:  # written this way so that NaN is refused too
        raise UserError(
            f"the merged model differs from the adapter (KL {distance:.2e} nats, {allowed:.2e} allowed) "
            f"and was not kept; check that {plan.base} is the base that the adapter was trained on."
        )
    return {**measured[-1], "kl_adapter_to_base": effect, "probes": len(prompts)}


def compare(adapted: ProbeOutputs, merged: ProbeOutputs) -> dict[str, float]:
    """Return how close the outputs of the merged model are to those of the adapter."""
    from codefit.modeling import merging
    from codefit.scoring.edit_similarity import EDIT_SIMILARITY

    distance, agreement = merging.divergence(adapted.log_probabilities, merged.log_probabilities)
    pairs = zip(merged.completions, adapted.completions, strict=True)
    similarities = [EDIT_SIMILARITY.of_pair(ours, theirs)[0] for ours, theirs in pairs]
    return {
        "kl_to_adapter": distance,
        "top1_agreement": agreement,
        "edit_similarity": sum(similarities) / len(similarities),
    }


def report(measured: list[dict[str, Any]], effect: float, allowed: float, probes: int) -> None:
    """Print how close the merged model is to the adapter, for each dtype that was tried."""
    asked = console.counted(probes, "prompt")
    console.show(f"KL divergence of the adapter from its base: {effect:.2e} nats ({asked}); the")
    console.show(f"merged model may diverge from the adapter by {allowed:.2e} nats:\n")
    rows = [
        (
            row["dtype"],
            f"{row['kl_to_adapter']:.2e}",
            f"{row['top1_agreement']:.1%}",
            f"{row['edit_similarity']:.1f}",
            "kept" if row["kl_to_adapter"] <= allowed else "too far",
        )
        for row in measured
    ]
    header = ("saved as", "KL to the adapter", "same first choice", "edit similarity", "verdict")
    console.show(console.table(rows, header))


# ---------------------------------------------------------------------------------------------- the stage


def main(argv: Sequence[str] | None = None) -> None:
    """Plan, merge, check, export, push."""
    args = build_parser().parse_args(argv)

    from codefit.modeling import hub_files

    name = args.hf_repository
    is_whole = not hub_files.is_adapter(name) and hub_files.is_whole(name)
    settings = MergeSettings.of(args, is_whole)
    if is_whole:
        return export_full_model(settings)
    plan = make_plan(name, settings.base)
    check_plan(settings, plan)
    if settings.dry_run:
        return None
    output, weights = settings.output, sha256(plan.adapter / ADAPTER_WEIGHTS)
    outputs.recover(output)
    done = None if settings.overwrite or not output.is_dir() else read_manifest(output).get("adapter_sha256")
    if done == weights:
        console.show("already merged and verified; nothing to do.")
    else:
        outputs.refuse_existing(output, settings.overwrite)
        run(settings, plan, weights)
    if settings.gguf:
        export(settings, output, plan.repository)
    if settings.push:
        push(settings, plan)
    console.show(f"next:    {shlex.join(['python', 'benchmarking.py', name])}")
    return None


def export(settings: MergeSettings, model: Path, repository: str | None) -> None:
    """Write the GGUF files of a full model next to the output."""
    from codefit.publishing import folder

    folder.write(
        model,
        settings.output,
        repository,
        kinds=settings.gguf,
        overwrite=settings.overwrite,
        flags=settings.flags,
    )


def check_plan(settings: MergeSettings, plan: Plan) -> None:
    """Print the plan, and raise UserError before any work if it cannot succeed."""
    outputs.refuse_own_inputs(settings.output, [plan.adapter, plan.base, settings.scores])
    console.show(f"adapter  {settings.name}\nbase     {plan.base}" + (", dequantised" if plan.load_in_4bit else ""))
    console.show(f"output   {settings.output}")
    if settings.push and not plan.repository:
        raise UserError("--push needs a Hub repository: name one in --hf_repository of train.py, or merge by Hub id.")
    if settings.scores:
        scores_of(settings, plan)
    if settings.gguf:
        import torch

        from codefit.modeling import merging
        from codefit.publishing import folder, gguf

        console.show(f"         {folder.gguf_folder(settings.output)}: {', '.join(settings.gguf)}")
        base = merging.Base(plan.base, plan.revision, plan.load_in_4bit, torch.float32)
        gguf.refuse(merging.config_of(base).to_dict(), plan.adapter)
        folder.refuse(settings.output, settings.overwrite)
    if settings.push and not settings.dry_run:
        from codefit.publishing import push

        for repository in [plan.repository, *[f"{plan.repository}-GGUF"] * bool(settings.gguf)]:
            push.check_repository(str(repository), "model", private=settings.private or None)


def scores_of(settings: MergeSettings, plan: Plan) -> "list[cards.BenchmarkRow]":
    """Return the benchmark results of --scores, [] without that flag."""
    from codefit.publishing import cards

    names = {settings.name, str(plan.adapter), str(settings.output), plan.repository or settings.name}
    return cards.read_scores(settings.scores, names) if settings.scores else []


def export_full_model(settings: MergeSettings) -> None:
    """Export a full model, which needs no merge."""
    from codefit.publishing import folder, gguf

    model = Path(settings.name)
    if not settings.gguf or settings.push or settings.scores:
        raise UserError(
            f"{settings.name} is a full model, not an adapter, so there is nothing to merge; use it as it is, or give "
            "--gguf without --push and --scores to export it for editors."
        )
    if not model.is_dir():
        raise UserError(f"{settings.name} is not on this machine; download it with `hf download` and give the folder.")
    gguf.refuse(gguf.read_config(model), model)
    folder.refuse(settings.output, settings.overwrite)
    console.show(f"model    {model}\noutput   {folder.gguf_folder(settings.output)}")
    if not settings.dry_run:
        export(settings, model, None)


def run(settings: MergeSettings, plan: Plan, weights: str) -> None:
    """Merge into a temporary folder, and move it to the output only after the check has passed."""
    manifest = Manifest(settings.flags)
    with outputs.new_directory(settings.output, settings.overwrite) as work:
        manifest.update(
            base_model=plan.base,
            base_revision=plan.revision,
            base_gguf=gguf_base.origin(plan.base),
            adapter=settings.name,
            adapter_sha256=weights,
            dataset=plan.dataset,
            max_prompt_tokens=plan.max_prompt_tokens,
            merge=merge(plan, work, settings.max_shard_size),
        )
        for name in (run_folder.STATE, run_folder.LOSS_CURVE):
            if (plan.adapter / name).is_file():
                shutil.copy(plan.adapter / name, work / name)
        manifest.write(work)
        write_card(settings, plan, work)
    console.show(f"\nmerged   {settings.output}")


def write_card(settings: MergeSettings, plan: Plan, work: Path) -> None:
    """Write a model card into the merged folder; a push writes it again, with the licence of the base."""
    from codefit.publishing import cards

    text = cards.merged_card(work, plan.repository or settings.output.name, scores_of(settings, plan), "", plan.adapter)
    outputs.write_whole(work / "README.md", text)


def push(settings: MergeSettings, plan: Plan) -> None:
    """Push the merged model with its adapter, and the GGUF files to their own repository."""
    from codefit.publishing import folder, push

    repository, private = str(plan.repository), settings.private or None
    scores = scores_of(settings, plan)
    url = push.push_merged(settings.output, repository, adapter=plan.adapter, private=private, scores=scores)
    console.show(f"pushed   {url}")
    if settings.gguf:
        url = push.push_gguf(
            folder.gguf_folder(settings.output),
            f"{repository}-GGUF",
            merged=repository,
            model=plan.adapter,
            private=private,
        )
        console.show(f"pushed   {url}")


if __name__ == "__main__":
    cli.run(main, computes=True)
