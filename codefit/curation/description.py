"""What is in the data: the page `data.html` in the output of stage 2, and a few lines for the terminal.

Files, pairs and rejections are counted in full, in one pass over each. What needs tokens or a syntax tree is measured
on every k-th document, about SAMPLE_BYTES in all, and the page says how many these are. Equal data give equal bytes.
"""

import hashlib
import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from codefit import records
from codefit.code.languages import LANGUAGES
from codefit.curation.corpus import Corpus, Entry, RejectionLog
from codefit.page.rendering import Table, render
from codefit.records import SPLITS, Document, Pair
from codefit.tasks.cutting import parsed

PAGE = "data.html"
SAMPLE_BYTES = 2_000_000
PIECE = 1 << 14  # characters tokenised at once
EXAMPLES = 10  # pairs of each task
EXAMPLE_LINES = 8  # of a prompt or a completion
EXAMPLE_CHARACTERS = 2000
REASONS = 3  # examples of each reason of rejection
LONGEST = 20  # rows of a table of names
TOKENS = 30  # most and least frequent ones
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(slots=True)
class Lengths:
    """How often each length occurs, in one unit."""

    name: str
    counts: Counter[int] = field(default_factory=Counter)

    def at(self, share: float) -> int:
        """Return the length that this share of them does not exceed (nearest rank)."""
        rank, seen = max(math.ceil(share * self.counts.total()), 1), 0
        for length in sorted(self.counts):
            seen += self.counts[length]
            if seen >= rank:
                return length
        return 0

    def row(self) -> tuple[str, ...]:
        return (self.name, number(self.counts.total()), *(number(self.at(share)) for share in (*SHARES, 1.0)))

    def bins(self) -> list[tuple[str, int]]:
        """Return the counts by powers of two, from the first to the last that occurs: "256 to 511"."""
        by_bits: Counter[int] = Counter()
        for length, count in self.counts.items():
            by_bits[length.bit_length()] += count
        span = range(min(by_bits, default=0), max(by_bits, default=-1) + 1)
        return [(f"{1 << bits >> 1:,} to {(1 << bits) - 1:,}" if bits else "0", by_bits[bits]) for bits in span]


@dataclass(slots=True)
class Sampled:
    """What is measured on a sample of the documents."""

    documents: int = 0
    characters: int = 0
    non_ascii: int = 0
    tokens: Counter[int] = field(default_factory=Counter)
    lengths: Lengths = field(default_factory=lambda: Lengths("file, tokens"))
    docstrings: Lengths = field(default_factory=lambda: Lengths("docstring, characters"))
    functions: Lengths = field(default_factory=lambda: Lengths("function, characters"))


@dataclass(slots=True)
class Pairs:
    """What is counted of all pairs, and by task the examples: those with the smallest hash of their id."""

    prompts: Lengths = field(default_factory=lambda: Lengths("prompt, characters"))
    completions: Lengths = field(default_factory=lambda: Lengths("completion, characters"))
    cuts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[int, int, Pair]]] = field(default_factory=dict)

    def chosen(self) -> list[tuple[str, list[Pair]]]:
        """Return the examples of each task."""
        return [(task, [pair for *_, pair in sorted(found, reverse=True)]) for task, found in self.examples.items()]


def write(
    folder: Path, corpus: Corpus, log: RejectionLog, splits: Mapping[str, Mapping[str, Any]], tokenizer: Any
) -> str:
    """Write the page into the output of stage 2, and return what the terminal shows.

    Args:
        folder: the output, with the files of pairs and rejections.
        corpus: the documents that are kept, and those that were rejected late.
        log: of the rejections.
        splits: counts of each split.
        tokenizer: the `tokenizers.Tokenizer` of the model; None where the task needs none.
    """
    log.file.flush()
    kept = [number for number, entry in enumerate(corpus.entries) if entry.split in SPLITS]
    entries = [corpus.entries[number] for number in kept]
    sampled = measure((corpus.document(number) for number in every_kth(kept, entries)), tokenizer)
    names = (f"{split}.jsonl" for split in (*records.SPLITS, records.OVERLAP))
    pairs = count_pairs(path for name in sorted(names) if (path := folder / name).is_file())
    facts = overview(entries, sampled, log)
    page = render(
        Path(__file__).parent,
        "description.html",
        title="codefit data",
        facts=facts,
        tasks=[(task, [example(pair) for pair in found]) for task, found in pairs.chosen()],
        histograms=[bars(each) for each in (sampled.lengths, pairs.prompts, pairs.completions)],
        lengths=lengths_table(
            [sampled.lengths, sampled.functions, sampled.docstrings, pairs.prompts, pairs.completions]
        ),
        names=names_tables(entries),
        tokens=tokens_tables(sampled.tokens, tokenizer),
        ranks=ranks(sampled.tokens),
        cuts=cuts_tables(pairs, splits),
        rejected=rejected_table(folder / "rejected.jsonl", log),
        sample=sample_of(sampled.documents, len(kept)),
    )
    (folder / PAGE).write_text(page, encoding="utf-8", newline="\n")
    return "\n".join(f"{label}: {value}" for label, value in {**facts, "more, with examples": PAGE}.items())


def number(value: float) -> str:
    return f"{value:,.0f}"


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{size / 1e3:.1f} kB"


def sample_of(measured: int, files: int) -> str:
    """Return a sentence on how many files were measured."""
    if measured == files:
        return f"Measured on all {number(files)} files."
    return f"Measured on {number(measured)} of {number(files)} files, evenly spaced."


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


# ---------------------------------------------------------------------------------------------- counting


def every_kth(numbers: Sequence[int], entries: Sequence[Entry]) -> Sequence[int]:
    """Return every k-th document, with the smallest k for which they have about SAMPLE_BYTES."""
    size = sum(entry.length for entry in entries)
    return numbers[:: max(math.ceil(size / SAMPLE_BYTES), 1)]


def measure(documents: Iterable[Document], tokenizer: Any) -> Sampled:
    """Return tokens, lengths and characters of documents."""
    found = Sampled()
    for document in documents:
        text = document.content
        found.documents += 1
        found.characters += len(text)
        found.non_ascii += len(text) - len(text.encode("ascii", "ignore"))
        if tokenizer:
            pieces = (text[at : at + PIECE] for at in range(0, len(text), PIECE))
            ids = [id for piece in pieces for id in tokenizer.encode(piece, add_special_tokens=False).ids]
            found.tokens.update(ids)
            found.lengths.counts[len(ids)] += 1
        if document.language in LANGUAGES:
            for function in parsed(document).functions():
                found.functions.counts[function.span[1] - function.span[0]] += 1
                if function.docstring:
                    found.docstrings.counts[function.docstring[1] - function.docstring[0]] += 1
    return found


def count_pairs(files: Iterable[Path]) -> Pairs:
    """Return what is counted of the pairs in some files."""
    found = Pairs()
    for path in files:
        for pair in records.read_jsonl(path, Pair):
            found.prompts.counts[len(pair.prompt)] += 1
            found.completions.counts[len(pair.completion)] += 1
            found.cuts[kind_of_cut(pair)] += 1
            rank = -int.from_bytes(hashlib.sha256(pair.id.encode()).digest()[:8])
            waiting = found.examples.setdefault(pair.task, [])
            entry = (rank, -found.cuts.total(), pair)
            if len(waiting) < EXAMPLES:
                heapq.heappush(waiting, entry)
            else:
                heapq.heappushpop(waiting, entry)
    return found


def kind_of_cut(pair: Pair) -> str:
    """Return where the prompt of a pair ends and how its completion does."""
    line = pair.prompt.rpartition("\n")[2]
    inside = re.search(r"\w$", line) and re.match(r"\w", pair.completion)
    start = "inside a word" if inside else "inside a line" if line.strip() else "at the start of a line"
    gap = ", with a suffix" if pair.suffix else ""
    return f"{start}{gap}, {'to a natural end' if pair.finish_reason == 'stop' else 'to the token limit'}"


def by_count(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """Return names and counts, the largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# ---------------------------------------------------------------------------------------------- what is shown


def overview(entries: Sequence[Entry], sampled: Sampled, log: RejectionLog) -> dict[str, str]:
    """Return the facts at the head of the page, by label."""
    repositories = {entry.repository for entry in entries}
    owners = {name.partition("/")[0] for name in repositories}
    facts = {
        "files kept": f"{number(len(entries))}, {megabytes(sum(entry.length for entry in entries))}",
        "files rejected": f"{number(log.files.total())}, {megabytes(log.bytes.total())}",
        "repositories": f"{number(len(repositories))} of {number(len(owners))} owners",
        "not ASCII": percent(sampled.non_ascii, sampled.characters) + " of the characters",
    }
    if total := sampled.tokens.total():
        middle, most = (number(sampled.lengths.at(share)) for share in (0.5, 0.95))
        once = sum(count == 1 for count in sampled.tokens.values())
        entropy = -sum(count / total * math.log2(count / total) for count in sampled.tokens.values())
        facts |= {
            "tokens in a file": f"median {middle}, 95 % up to {most}",
            "different tokens": f"{number(len(sampled.tokens))}, {percent(once, len(sampled.tokens))} seen once",
            "entropy": f"{entropy:.2f} bits a token, {sampled.characters / total:.2f} characters a token",
        }
    return facts


def bars(lengths: Lengths) -> dict[str, Any]:
    """Return a histogram: its name, and for each bin its label, its count, and its share of the largest in percent."""
    bins = lengths.bins()
    most = max((count for _, count in bins), default=0)
    return {"name": lengths.name, "bins": [(label, number(count), 100 * count / most) for label, count in bins]}


def lengths_table(rows: Sequence[Lengths]) -> Table:
    header = ("Of a", "Count", *("median" if share == 0.5 else f"{share:.0%}" for share in SHARES), "longest")
    return Table("Lengths that a share of them does not exceed", header, [each.row() for each in rows if each.counts])


def names_tables(entries: Sequence[Entry]) -> Iterator[Table]:
    """Yield tables of files and bytes by extension, language, licence, owner and repository."""
    kinds = {
        "Extensions": lambda entry: PurePosixPath(entry.path).suffix,
        "Languages": lambda entry: entry.language,
        "Licences": lambda entry: entry.license,
        "Owners": lambda entry: entry.repository.partition("/")[0],
        "Repositories": lambda entry: entry.repository,
    }
    for title, name_of in kinds.items():
        files: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for entry in entries:
            name = name_of(entry) or "(none)"
            files[name] += 1
            size[name] += entry.length
        listed = [(name, number(count), number(size[name])) for name, count in by_count(files)[:LONGEST]]
        shown = f"The {LONGEST} largest of {number(len(files))}" if len(files) > LONGEST else f"{len(files)} in all"
        yield Table(shown, (title, "Files", "Bytes"), listed, title)


def tokens_tables(tokens: Counter[int], tokenizer: Any) -> list[Table]:
    """Return the tables of the most and the least frequent tokens."""
    ordered, total = by_count(tokens), tokens.total()

    def table(name: str, found: Sequence[tuple[int, int]]) -> Table:
        rows = [(repr(tokenizer.decode([id])), str(id), number(count), percent(count, total)) for id, count in found]
        return Table("Of those that occur; equal counts by id", ("Token", "Id", "Count", "Share"), rows, name)

    return [table("Most frequent", ordered[:TOKENS]), table("Least frequent", ordered[-TOKENS:])] if ordered else []


def ranks(tokens: Counter[int]) -> str:
    """Return the points of the plot of counts by rank, both on a log scale of 0 to 100, as SVG writes them."""
    counts = sorted(tokens.values(), reverse=True)
    if len(counts) < 2 or counts[0] < 2:
        return ""
    shown = sorted({round(len(counts) ** (step / 60)) for step in range(61)})
    across, up = math.log(len(counts)), math.log(counts[0])
    points = ((100 * math.log(rank) / across, 100 - 100 * math.log(counts[rank - 1]) / up) for rank in shown)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def cuts_tables(pairs: Pairs, splits: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Return the tables of kinds of cuts, and of cut points without a pair."""
    total = pairs.cuts.total()
    rows = [(name, number(count), percent(count, total)) for name, count in by_count(pairs.cuts)]
    found = [Table("Where prompts end, and how completions do", ("Cut", "Pairs", "Share"), rows, "Kinds of cuts")]
    skipped: Counter[str] = Counter()
    for counts in splits.values():
        skipped.update(counts["skipped"])
    if skipped:
        reasons = [(reason, number(count)) for reason, count in by_count(skipped)]
        found.append(Table("Of all splits", ("Reason", "Cut points"), reasons, "Cut points without a pair"))
    return found


def rejected_table(path: Path, log: RejectionLog) -> Table:
    """Return every reason of rejection with its first examples: files, and the values that broke the rule."""
    examples: dict[str, list[str]] = {}
    for _, row in records.read_rows(path):
        known = examples.setdefault(row["rule"], [])
        if len(known) < REASONS:
            known.append(f"{row['path']} ({row['value']})" if "value" in row else row["path"])
    rows = [
        (rule, number(count), number(log.bytes[rule]), "; ".join(examples[rule])) for rule, count in by_count(log.files)
    ]
    return Table("The first examples of each reason; rejected.jsonl has all files", REJECTED, rows)


REJECTED = ("Reason", "Files", "Bytes", "Examples")


def example(pair: Pair) -> dict[str, str]:
    """Return what is shown of a pair: the end of its prompt, the starts of its completion and suffix."""
    return {
        "name": f"{pair.path} · {pair.id}" if pair.path != pair.id else pair.path,
        "language": pair.language,
        "prompt": _last(pair.prompt),
        "completion": _first(pair.completion),
        "suffix": _first(pair.suffix or ""),
        "end": "natural end" if pair.finish_reason == "stop" else "token limit",
    }


def _last(text: str) -> str:
    found = "\n".join(text.split("\n")[-EXAMPLE_LINES:])[-EXAMPLE_CHARACTERS:]
    return found if found == text else f"… {found}"


def _first(text: str) -> str:
    found = "\n".join(text.split("\n")[:EXAMPLE_LINES])[:EXAMPLE_CHARACTERS]
    return found if found == text else f"{found} …"
