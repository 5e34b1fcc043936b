"""How much of what a completion needs is retrieved, and in what time? No model is asked; only its tokenizer is needed.

    python -m speed.retrieval --dataset data/mine_pairs --model SmolLM2-135M-Instruct.Q4_1.gguf

Counted are the names that a reference brings in and the retrieved text holds, as `benchmarking.py --repository_context`
does. A name that is new in the repository cannot be found.
"""

import random
import time
from pathlib import Path

from codefit import cli, console, records
from codefit.code.lexer import IDENTIFIER
from codefit.errors import UserError
from codefit.evaluation import repository_files
from codefit.evaluation.retrieval import Retriever, names_of_reference
from codefit.tasks.token_offsets import load_tokenizer


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="prepared data set")
    parser.add_argument("--model", required=True, help="model whose tokenizer counts")
    parser.add_argument("--sample", type=cli.number(int, 1), default=150, help="test pairs that are drawn with seed 0")
    parser.add_argument("--repository_context", type=cli.number(int, 1), nargs="+", default=[512, 256], help="tokens")
    return parser


def main() -> None:
    """Retrieve for a sample of test pairs, and print the names that were found by number of tokens."""
    args = build_parser().parse_args()
    path = args.dataset / "test.jsonl"
    source = repository_files.path_of(path)
    if source is None:
        raise UserError(f"{args.dataset} has no files of its repositories; prepare it again with preprocess_data.py.")
    pairs = list(records.read_jsonl(path, records.Pair))
    drawn = sorted(random.Random(0).sample(range(len(pairs)), min(args.sample, len(pairs))))
    asked = [pairs[at] for at in drawn]
    files = repository_files.opened(source, {pair.repository for pair in asked})
    tokenizer = load_tokenizer(args.model)
    started = time.process_time()
    retriever = Retriever(files, asked)
    console.show(f"{len(asked)} of {len(pairs)} test pairs; index in {time.process_time() - started:.1f} s")
    wanted = [names_of_reference(pair) for pair in asked]
    for limit in args.repository_context:
        started = time.process_time()
        texts = [retriever.context(pair, tokenizer, limit).text for pair in asked]
        seconds = time.process_time() - started
        found = sum(len(names & set(IDENTIFIER.findall(text))) for names, text in zip(wanted, texts, strict=True))
        console.show(
            f"{limit} tokens: {found} of {sum(map(len, wanted))} names, {1000 * seconds / len(asked):.0f} ms a prompt"
        )


if __name__ == "__main__":
    cli.run(main)
