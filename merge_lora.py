"""Merge an adapter into its base, prove that nothing was lost, and push the result if asked.

The base, its revision and its quantisation are read from what train.py wrote; one argument is enough:

    python merge_lora.py --hf_repository outputs/kotlin/adapter

    python merge_lora.py --hf_repository me/kotlin-phi --output_dir outputs/kotlin/merged --push

A base that was trained in 4 bits is dequantised first and merged in float32. The merged model is saved, read back from
disk, and must predict what the adapter predicts; where it does not, nothing is kept and nothing is pushed.
"""

import argparse
import dataclasses
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit import cli, records
from codefit.cli import UserError
from codefit.records import Pair

PROBES = 32  # prompts on which merged model and adapter are compared

# How far the merged model may lie from the adapter, as a share of how far the adapter lies from its base, in nats of
# KL divergence. Rounding to bfloat16 costs a well-trained adapter far less; what costs more is a failed merge, or an
# adapter so small that float32 is needed to keep it.
LOST_SHARE = 0.02
FLOOR = 1e-6  # nats; float32 arithmetic in another order is not exact


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--hf_repository", default="outputs/kotlin/adapter", help="the adapter: a folder of train.py, or a Hub id")
    add("--output_dir", type=Path, help="where the merged model goes; when absent: merged, beside the adapter")
    add("--push", action="store_true", help="push the result to the Hub repository of the adapter")
    cli.add_output_flags(parser)
    return parser


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is merged into what."""

    adapter: Path
    base: str
    revision: str | None
    load_in_4bit: bool
    dtype: str
    dataset: str | None
    max_prompt_tokens: int
    repository: str | None


def make_plan(name: str) -> Plan:
    """Read base, revision and quantisation from the adapter's own files."""
    from codefit import models

    adapter = models.adapter_folder(name)
    base, revision = models.base_of(str(adapter))
    manifest = cli.read_manifest(adapter)
    arguments = manifest.get("arguments", {})
    return Plan(
        adapter=adapter,
        base=base,
        revision=revision,
        load_in_4bit=bool(manifest.get("load_in_4bit")),
        dtype=str(manifest.get("dtype", "float32")).removeprefix("torch."),
        dataset=manifest.get("dataset"),
        max_prompt_tokens=int(manifest.get("max_prompt_tokens", 512)),
        repository=arguments.get("hf_repository") if Path(name).is_dir() else name,
    )


def probe_prompts(plan: Plan, tokenizer: Any) -> list[list[int]]:
    """Return token ids of real prompts: validation pairs of the training data, else lines of this toolkit's source."""
    from codefit.encoding import Encoder

    encoder = Encoder(tokenizer, plan.max_prompt_tokens)
    file = Path(plan.dataset or "") / "validation.jsonl"
    if plan.dataset and file.is_file():
        pairs = itertools.islice(records.read_jsonl(file, Pair), PROBES)
        return [encoder.prompt_ids(pair.prompt or pair.completion[:200], pair.suffix) for pair in pairs]
    lines = Path(__file__).read_text(encoding="utf-8").splitlines(keepends=True)
    return [encoder.prompt_ids("".join(lines[: 4 * (n + 1)])) for n in range(PROBES)]


def trained_predictions(plan: Plan, prompts: list[list[int]]) -> tuple[Any, Any]:
    """Return log-probabilities of base and adapter, on the base as it was trained (4-bit where it was 4-bit)."""
    import torch

    from codefit import models

    dtype = getattr(torch, plan.dtype) if plan.load_in_4bit else torch.float32
    base = models.load_model(plan.base, revision=plan.revision, load_in_4bit=plan.load_in_4bit, dtype=dtype)
    model = models.attach_adapter(base, str(plan.adapter))
    with model.disable_adapter():
        without = models.next_token_log_probabilities(model, prompts)
    return without, models.next_token_log_probabilities(model, prompts)


def merge(plan: Plan, work: Path) -> Any:
    """Write the merged model to work, in the smallest type that keeps the adapter; return what was measured.

    Raises:
        UserError: the model read back from disk does not predict what the adapter predicts.
    """
    import torch

    from codefit import models

    tokenizer = models.load_tokenizer(str(plan.adapter))
    prompts = probe_prompts(plan, tokenizer)
    without, wanted = trained_predictions(plan, prompts)
    effect, _ = models.divergence(wanted, without)
    base = models.dequantised(plan.base, plan.revision, plan.load_in_4bit, getattr(torch, plan.dtype))
    merged = models.attach_adapter(base, str(plan.adapter)).merge_and_unload().cpu()
    models.set_generation_defaults(merged, tokenizer)

    allowed = max(LOST_SHARE * effect, FLOOR)
    rows = []
    for dtype in (torch.bfloat16, torch.float32):
        models.save(merged, tokenizer, work, dtype)
        read_back = models.load_model(str(work), dtype=torch.float32)
        distance, agreement = models.divergence(wanted, models.next_token_log_probabilities(read_back, prompts))
        name = str(dtype).removeprefix("torch.")
        rows.append((name, f"{distance:.2e}", f"{agreement:.1%}", "kept" if distance <= allowed else "too far"))
        if distance <= allowed:
            break
    print(f"the adapter moves its base by {effect:.2e} nats (KL, {len(prompts)} prompts); the merged model may lose")
    print(f"{allowed:.2e} of it:\n")
    print(cli.table(rows, ("saved as", "KL to the adapter", "same first choice", "verdict")))
    if distance > allowed:
        raise UserError(
            f"the merged model differs from the adapter (KL {distance:.2e} nats, {allowed:.2e} allowed) "
            f"and was not kept; check that {plan.base} is the base it was trained on."
        )
    return {"dtype": name, "kl_to_adapter": distance, "kl_adapter_to_base": effect, "top1_agreement": agreement}


def main(argv: Sequence[str] | None = None) -> None:
    """Plan, merge, verify, push."""
    args = build_parser().parse_args(argv)
    plan = make_plan(args.hf_repository)
    output = args.output_dir or default_output(args.hf_repository)
    weights = cli.sha256(plan.adapter / "adapter_model.safetensors")
    if output.resolve() == plan.adapter.resolve():
        raise UserError("--output_dir is the adapter itself; name another folder.")
    print(f"adapter  {args.hf_repository}\nbase     {plan.base}" + (", dequantised" if plan.load_in_4bit else ""))
    print(f"output   {output}")
    if args.push and not plan.repository:
        raise UserError("--push needs a Hub repository: name one in --hf_repository of train.py, or merge by Hub id.")
    if args.dry_run:
        return
    if args.push:
        from codefit import hub

        hub.preflight(str(plan.repository), "model", private=None)
    done = cli.read_manifest(output).get("adapter_sha256") if output.is_dir() else None
    if done == weights and not args.overwrite:
        print("already merged and verified; nothing to do.")
    else:
        cli.refuse_existing(output, args.overwrite)
        run(args, plan, output, weights)
    if args.push:
        from codefit import hub

        print(f"pushed   {hub.push_merged(output, str(plan.repository), adapter=plan.adapter)}")
    print(f"next:    python benchmarking.py --hf_repository {args.hf_repository}")


def run(args: argparse.Namespace, plan: Plan, output: Path, weights: str) -> None:
    """Merge into a folder aside, and move it to its place only when it is proven."""
    manifest = cli.Manifest(args)
    work = cli.partial(output)
    cli.make_folder(work, empty=True)
    try:
        measured = merge(plan, work)
    except UserError:
        shutil.rmtree(work)
        raise
    for name in ("trainer_state.json", "loss.png"):
        if (plan.adapter / name).is_file():
            shutil.copy(plan.adapter / name, work / name)
    manifest.update(
        base_model=plan.base,
        base_revision=plan.revision,
        adapter=args.hf_repository,
        adapter_sha256=weights,
        dataset=plan.dataset,
        max_prompt_tokens=plan.max_prompt_tokens,
        merge=measured,
    )
    manifest.write(work)
    cli.commit(work, output)
    print(f"\nmerged   {output}")


def default_output(name: str) -> Path:
    """Return where the merged model of an adapter goes: beside a local one, under outputs/ for one of the Hub."""
    return Path(name).parent / "merged" if Path(name).is_dir() else Path("outputs") / name.split("/")[-1] / "merged"


if __name__ == "__main__":
    cli.run(main)
