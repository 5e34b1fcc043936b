"""Near-duplicate removal: codefit against datatrove and datasketch, on the same files, one process each, in one run.

    pip install datatrove==0.10.1 spacy datasketch==2.0.0
    python -m speed.dedup --files 20000

The files are the Python of this installation, and seeded mutations of it until there are enough. All three find 5-grams
of words with a similarity of 0.7; codefit's time includes the exact comparison of every candidate, which the others do
not make. Times are processor seconds, so that other programs on the machine do not count.
"""

import argparse
import functools
import json
import random
import re
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from codefit.curation.dedup import near_duplicates, shingles, sketch

GRAM, BUCKETS, ROWS = 5, 14, 8  # datatrove's own choice, for both peers
WORDS = re.compile(r"[A-Za-z0-9_]+")
CACHED_SETS = 4096  # as many as stage 2 holds


def gathered(count: int, seed: int) -> list[str]:
    """Return the given number of different Python texts: installed files, then mutations of them."""
    chance = random.Random(seed)
    folders = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
    paths = sorted({path for folder in folders for path in Path(folder).rglob("*.py")})
    chance.shuffle(paths)
    texts: dict[str, None] = {}
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace")
        if 200 < len(text) < 200_000:
            texts.setdefault(text)
        if len(texts) == count:
            break
    originals = list(texts)
    while len(texts) < count:
        texts.setdefault(mutated(chance.choice(originals), chance.choice([0.002, 0.01, 0.03, 0.1]), chance))
    return list(texts)


def mutated(text: str, share: float, chance: random.Random) -> str:
    """Return a text with a share of its words renamed."""
    return WORDS.sub(lambda match: f"{match[0]}_{chance.randrange(99)}" if chance.random() < share else match[0], text)


def codefit(texts: list[str]) -> int:
    """Return how many files are kept."""
    shingles_of = functools.lru_cache(CACHED_SETS)(lambda number: shingles(texts[number]))
    keys, sizes = sketch(shingles_of(number) for number in range(len(texts)))
    return len(texts) - sum(1 for _ in near_duplicates(keys, sizes, shingles_of))


def datasketch(texts: list[str]) -> int:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=BUCKETS * ROWS, params=(BUCKETS, ROWS))
    kept = 0
    for number, text in enumerate(texts):
        words = WORDS.findall(text)
        signature = MinHash(num_perm=BUCKETS * ROWS)
        signature.update_batch({" ".join(words[n : n + GRAM]).encode() for n in range(max(1, len(words) - GRAM + 1))})
        if not index.query(signature):
            index.insert(number, signature)
            kept += 1
    return kept


def datatrove(texts: list[str]) -> int:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline import dedup
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=GRAM, num_buckets=BUCKETS, hashes_per_bucket=ROWS)
    with tempfile.TemporaryDirectory() as name:
        for part in ("input", "output"):
            Path(name, part).mkdir()
        with Path(name, "input", "texts.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text, "id": str(n)}) + "\n" for n, text in enumerate(texts))
        reader, writer = JsonlReader(f"{name}/input"), JsonlWriter(f"{name}/output", compression=None)
        for number, (tasks, pipeline) in enumerate(
            [
                (1, [reader, dedup.MinhashDedupSignature(f"{name}/signatures", config=config)]),
                (BUCKETS, [dedup.MinhashDedupBuckets(f"{name}/signatures", f"{name}/buckets", config=config)]),
                (1, [dedup.MinhashDedupCluster(f"{name}/buckets", f"{name}/remove", config=config)]),
                (1, [reader, dedup.MinhashDedupFilter(f"{name}/remove"), writer]),
            ]
        ):
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=f"{name}/logs{number}").run()
        return sum(len(path.read_bytes().splitlines()) for path in Path(name, "output").iterdir())


def measured(run: Callable[[list[str]], int], texts: list[str]) -> tuple[float, int]:
    started = time.process_time()
    kept = run(texts)
    return time.process_time() - started, kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="number of files (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the selection and the mutations (default: 0)")
    parser.add_argument("--peers", nargs="*", choices=["datasketch", "datatrove"], default=["datasketch", "datatrove"])
    args = parser.parse_args()
    texts = gathered(args.files, args.seed)
    print(f"{len(texts)} files, {sum(map(len, texts)) / 1e6:.1f} MB", flush=True)
    codefit(texts[:8])  # imports and tables are paid once
    ours, kept = measured(codefit, texts)
    print(f"codefit     {ours:8.1f} s   {kept} kept, every removal verified", flush=True)
    for name in args.peers:
        peer = {"datasketch": datasketch, "datatrove": datatrove}[name]
        peer(texts[:8])
        seconds, kept = measured(peer, texts)
        print(f"{name:<11} {seconds:8.1f} s   {kept} kept   codefit is {seconds / ours:.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()
