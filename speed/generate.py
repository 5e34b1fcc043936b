"""How fast is generation? codefit compared with Transformers, on the same prompts with the same model, in one run.

    make demo                     # makes the adapter and the pairs
    python -m speed.generate  # all sides in turn in one process
    python -m speed.generate --hf_repository SmolLM2-135M-Instruct.Q4_1.gguf --dataset outputs/pairs

Six ways to complete the same prompts greedily; an adapter is merged first, for all of them:

    codefit        sorted by length, read in pieces, rows leave when they end
    batch 32, 96   transformers' `generate` in file order, 64 new tokens, stops when every row has ended
    continuous     transformers' `generate_batch`, its continuous batching, 64 new tokens
    vLLM           `--backend vllm` of benchmarking.py, 64 new tokens, in an environment that has vLLM
    the loop       transformers' `generate` in batches of 10 in file order, 512 new tokens, no stop rule

Continuous batching and the loop are measured on a share of the prompts and scaled; the others on all. That codefit
writes what `generate` writes is checked for every prompt; in bfloat16, where the shape of a batch decides the rounding,
the predictions that differ are counted. Times are of this process on the wall and on the CPU: on a machine that others
use too, the latter says more.
"""

import importlib.util
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console, encoding, records
from codefit.generation import batched, kv_cache
from codefit.modeling import loading

DEMO = "outputs/demo/SmolLM2-135M-Instruct.Q4_1"  # where `make demo` leaves its files
CONTEXT = 640  # of data/base: a prompt and the loop's 512 new tokens
SLOW_TOKENS = 512


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    positive = cli.number(int, 1)
    parser.add_argument(
        "--hf_repository", default=f"{DEMO}/adapter", help="adapter, model or GGUF file to generate with"
    )
    parser.add_argument("--dataset", type=Path, default=Path(DEMO) / "pairs", help="prepared data set")
    parser.add_argument(
        "--prompts",
        type=positive,
        default=500,
        help="number of prompts, sampled by seed; from the test split first",
    )
    parser.add_argument("--slow_prompts", type=positive, default=30, help="number of prompts for the slow two")
    parser.add_argument("--max_new_tokens", type=positive, default=64, help="limit of new tokens")
    return parser


def prompts_of(dataset: Path, count: int, encoder: encoding.Encoder) -> list[list[int]]:
    """Return the ids of a seeded sample of held-out prompts in file order."""
    splits = [list(records.read_jsonl(dataset / f"{name}.jsonl", records.Pair)) for name in records.SPLITS]
    train, validation, test = splits
    pairs = [*test, *validation, *train][: max(count, len(test))]
    drawn = sorted(random.Random(0).sample(range(len(pairs)), count))
    return [encoder.prompt_ids(pairs[at].prompt, pairs[at].suffix) for at in drawn]


def transformers_batches(
    model: Any, encoder: encoding.Encoder, prompts: Sequence[list[int]], size: int, new_tokens: int, stop: bool
) -> list[list[int]]:
    """Return what transformers' `generate` writes in batches in file order; with `stop` until end-of-sequence."""
    found = []
    eos = encoder.eos_ids if stop else None
    for at in range(0, len(prompts), size):
        rows = kv_cache.left_padded(prompts[at : at + size], encoder.pad_id, model.device)
        written = model.generate(
            input_ids=rows.ids,
            attention_mask=rows.mask,
            max_new_tokens=new_tokens,
            do_sample=False,
            eos_token_id=eos,
            pad_token_id=encoder.pad_id,
        )
        found += written[:, rows.ids.shape[1] :].tolist()
    return found


def continuous_batching(
    model: Any, encoder: encoding.Encoder, prompts: Sequence[list[int]], new_tokens: int
) -> list[list[int]]:
    """Return what transformers' continuous batching writes until end-of-sequence."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    config = GenerationConfig(
        max_new_tokens=new_tokens, do_sample=False, eos_token_id=list(encoder.eos_ids), pad_token_id=encoder.pad_id
    )
    # a page per prompt and two spare ones: by default, the pages would take 60 % of the machine's memory on a CPU
    pages = ContinuousBatchingConfig(num_blocks=len(prompts) + 2, max_batch_tokens=512)
    found = model.generate_batch(prompts, generation_config=config, continuous_batching_config=pages)
    return [request.generated_tokens for request in found.values()]


def vllm_engine(model: Any, encoder: encoding.Encoder, new_tokens: int) -> Callable[[Sequence[list[int]]], list[Any]]:
    """Return a function from prompts to what vLLM writes; it has loaded the model, and runs in this process."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # so that its processor time is that of this process
    from codefit.generation.vllm_backend import VllmBackend

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        engine = VllmBackend(folder, None)
    ends = encoder.eos_ids
    return lambda prompts: [row.ids for row in engine.complete(prompts, max_new_tokens=new_tokens, eos_ids=ends)]


def until_end(ids: list[int], eos_ids: Sequence[int]) -> list[int]:
    """Return the ids before the first end-of-sequence."""
    return next((ids[:at] for at, token in enumerate(ids) if token in eos_ids), ids)


def timed(name: str, work: Callable[[], list[Any]]) -> tuple[list[Any], float, float]:
    """Return a result with its seconds on the wall and on the CPU."""
    print(f"{name} ...", flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name}: {wall:.1f} s, {cpu:.1f} s of CPU time", flush=True)
    return found, wall, cpu


def main() -> None:
    """Measure all six, check that they agree, and print the ratios."""
    args = build_parser().parse_args()
    import torch

    tokenizer, model = loading.load(args.hf_repository)
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    encoder = encoding.Encoder(tokenizer, min(CONTEXT, loading.context_of(model)) - SLOW_TOKENS)
    prompts = prompts_of(args.dataset, args.prompts, encoder)
    model.generation_config.eos_token_id = None  # `generate` then stops only where it is told to

    def codefit() -> list[batched.Completion]:
        return batched.generate(
            model,
            prompts,
            max_new_tokens=args.max_new_tokens,
            eos_ids=encoder.eos_ids,
            pad_id=encoder.pad_id,
            tokens_per_batch=batched.tokens_that_fit(model),
        )

    def batch_of(size: int) -> Callable[[], list[list[int]]]:
        return lambda: transformers_batches(model, encoder, prompts, size, args.max_new_tokens, stop=True)

    slow = prompts[: args.slow_prompts]
    batched.generate(model, prompts[:8], max_new_tokens=4, eos_ids=[], pad_id=encoder.pad_id)  # wakes everything
    found = {
        "codefit": timed("codefit", codefit),
        "batch 32": timed("batch 32", batch_of(32)),
        "batch 96": timed("batch 96", batch_of(96)),
        "codefit again": timed("codefit again", codefit),
        "continuous": timed("continuous", lambda: continuous_batching(model, encoder, slow, args.max_new_tokens)),
        "the loop": timed("the loop", lambda: transformers_batches(model, encoder, slow, 10, SLOW_TOKENS, stop=False)),
    }
    if importlib.util.find_spec("vllm"):
        engine = vllm_engine(model, encoder, args.max_new_tokens)
        engine(prompts[:8])  # wakes it, too
        found["vLLM"] = timed("vLLM", lambda: engine(prompts))

    written = [row.ids for row in found["codefit"][0]]
    for name in [other for other in found if not other.startswith("codefit")]:
        others = [until_end(ids, encoder.eos_ids)[: args.max_new_tokens] for ids in found[name][0]]
        differ = sum(mine != other for mine, other in zip(written, others, strict=False))
        print(f"predictions that differ from {name}: {differ} of {len(others)}")
        assert differ == 0 or model.dtype != torch.float32, f"{differ} completions differ from {name}"
    stopped = sum(row.finish_reason == "stop" for row in found["codefit"][0])
    print(f"\n{args.hf_repository}, {torch.get_num_threads()} threads: {len(prompts)} prompts of at most", end=" ")
    print(
        f"{encoder.max_prompt_tokens} tokens, {sum(map(len, written))} tokens generated, {stopped} stop by themselves"
    )
    scale = dict.fromkeys(["continuous", "the loop"], len(prompts) / len(slow))
    times = {name: (wall * scale.get(name, 1), cpu * scale.get(name, 1)) for name, (_, wall, cpu) in found.items()}
    ours = [(times["codefit"][kind] + times["codefit again"][kind]) / 2 for kind in (0, 1)]
    rows = [
        [name, f"{wall:.1f}", f"{cpu:.1f}", f"{wall / ours[0]:.2f}", f"{cpu / ours[1]:.2f}"]
        for name, (wall, cpu) in times.items()
    ]
    print(console.table(rows, ["", "wall s", "CPU s", "wall ratio", "CPU ratio"]))
    print(f"Continuous batching and the loop were measured on {len(slow)} prompts and scaled.")


if __name__ == "__main__":
    cli.run(main)
