"""`--verify` for test pairs of later commits: their prompts hold only what the author of the commit had.

The curated history is made from the input again and compared byte by byte. Then each prompt must be the file at its
commit up to the cursor, in lines that the commit added, and its context must be other files as they were before.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codefit import records
from codefit.curation.curate import LOCAL, CurationOptions, curate_all
from codefit.curation.later_changes import CuratedHistory, histories
from codefit.dates import moment
from codefit.records import STATE, Change, Document, Pair
from codefit.sources.timeline import Timeline
from codefit.tasks.additions import added_lines
from codefit.tasks.repository_context import own_prompt, pieces

EARLIEST = datetime.min.replace(tzinfo=UTC)


def leaks(output: Path, arguments: Mapping[str, Any], pairs: Iterator[Pair]) -> Iterator[str]:
    """Yield a clause for each kind of leak in the test pairs of later commits.

    Args:
        output: the folder of the data set.
        arguments: of the command that made it.
        pairs: its test pairs.
    """
    path = output / records.HISTORY
    if not _is_same(path, arguments["input"], CurationOptions.of(arguments)):
        yield f"{path.name} is not the history of the input"
        return
    timeline = Timeline(path)
    dates, first = _dates(path)
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if reason := _leak(pair, timeline):
            found.setdefault(reason, []).append(pair.id)
        elif (date := moment(dates[pair.repository, str(pair.commit)])) is None or date <= first.get(
            pair.repository, EARLIEST
        ):
            found.setdefault("are not of later commits", []).append(pair.id)
    for reason, names in found.items():
        yield f"test pairs that {reason}: {len(names)} ({names[0]})"


def _is_same(path: Path, inputs: Sequence[str], options: CurationOptions) -> bool:
    """Return whether a curated history is that of the input."""
    with tempfile.TemporaryDirectory(prefix="codefit-") as folder:
        again = Path(folder) / records.HISTORY
        with again.open("w", encoding="utf-8", newline="\n") as lines:
            history = CuratedHistory(lines)
            names: set[tuple[str, str]] = set()
            taken: set[str] = set()
            documents = (document for source in inputs for document in records.read_documents(source, taken))
            for _, curated in curate_all(documents, options):
                outcome = curated.outcome
                if isinstance(outcome, Document) and (outcome.repository, outcome.path) not in names:
                    names.add((outcome.repository, outcome.path))
                    history.add_document(outcome)
            history.add_histories(histories(inputs), options, LOCAL)
        with path.open("rb") as one, again.open("rb") as other:
            while block := one.read(1 << 20):
                if block != other.read(1 << 20):
                    return False
            return not other.read(1)


def _dates(path: Path) -> tuple[dict[tuple[str, str], str], dict[str, Any]]:
    """Return the date of each commit by repository and id, and that of the commit that each repository was read at.

    A repository of which no file was kept at that commit has none.
    """
    dates: dict[tuple[str, str], str] = {}
    first: dict[str, Any] = {}
    for change in records.read_jsonl(path, Change):
        dates[change.repository, change.commit] = change.committed_at
        if not change.parent and change.left_out == STATE:
            first.setdefault(change.repository, moment(change.committed_at))
    return dates, first


def _leak(pair: Pair, timeline: Timeline) -> str | None:
    """Return what is wrong with a test pair, as the rest of a sentence; None for a good one."""
    if pair.commit is None or (pair.repository, pair.commit) not in timeline:
        return "are of no commit of the history"
    before = timeline.before(pair.repository, pair.commit)
    for path, start, text in pieces(pair):
        if path == pair.path:
            return "have their own file as context"
        if before.get(path, "")[start : start + len(text)] != text:
            return "have a context that was not there before their commit"
    now = timeline.at(pair.repository, pair.commit).get(pair.path, "")
    prompt = own_prompt(pair)
    spans = added_lines(before.get(pair.path, ""), now)
    at = now.find(prompt + pair.completion)
    while at >= 0:
        cut = at + len(prompt)
        if any(start <= cut and cut + len(pair.completion) <= end for start, end in spans):
            return None
        at = now.find(prompt + pair.completion, at + 1)
    return "are not what their commit added"
