"""Has a base seen the test? What other names cost it in held-out files, next to files that are newer than it.

    python -m runs.contamination data/base outputs/mine/pairs/test.jsonl newer.jsonl

Both files hold pairs as preprocess_data.py writes them; the newer ones should be of the same project or of its kind.
docs/benchmark.md says how often the answer is wrong.
"""

from pathlib import Path

from codefit import cli, console


def main() -> None:
    """Print one sentence."""
    parser = cli.Parser(__doc__)
    parser.add_argument("model", help="folder or Hub id of the base")
    parser.add_argument("test", type=Path, help="held-out pairs, a JSONL file")
    parser.add_argument("newer", type=Path, help="pairs of files that the base cannot have seen, a JSONL file")
    parser.add_argument("--max_prompt_tokens", type=cli.number(int, 1), default=128, help="longest prompt")
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="of the permutations")
    args = parser.parse_args()
    from codefit.encoding import Encoder
    from codefit.evaluation import contamination
    from codefit.modeling import loading
    from codefit.records import Pair, read_jsonl

    pairs = [list(read_jsonl(path, Pair)) for path in (args.test, args.newer)]
    encoder = Encoder(loading.load_tokenizer(args.model), args.max_prompt_tokens)
    model = loading.load_model(args.model)
    test, newer = (contamination.losses(model, encoder, each) for each in pairs)
    found = contamination.compare(test, newer, args.seed)
    costs = (
        f"{found.test:.3f} bits per byte in {len(test)} held-out files, {found.newer:.3f} in {len(newer)} newer ones"
    )
    if found.p is None:
        told = f"too few to tell: {contamination.FEWEST_FILES} files of each kind are needed"
    else:
        told = f"it has {'probably' if found.is_seen else 'no sign of having'} seen the test (p = {found.p:.4f})"
    console.show(f"{args.model}: other names cost {costs}; {told}.")


if __name__ == "__main__":
    cli.run(main)
