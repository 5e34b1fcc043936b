"""What reading all repositories of a GitHub search would take, estimated from a few that are drawn at random.

A search returns at most 1,000 results, so a repository is drawn by halving the range of creation dates: each half is
chosen with the probability of its share of the results, down to a slice that can be listed, and of that a page.
"""

import dataclasses
import math
import random
import statistics
import time
import urllib.parse
from collections.abc import Callable, Sequence
from datetime import datetime

from codefit.errors import UserError
from codefit.records import Document
from codefit.sources import github_search
from codefit.sources.documents import Seen, Selection, opened
from codefit.sources.github_search import MOST_RESULTS, PER_PAGE, SECOND, Client
from codefit.sources.source import Place

DRAWN = 12  # repositories that are read for an estimate
PER_MINUTE = {True: 30, False: 10}  # requests, with and without a token: docs.github.com/en/rest/search


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """Repositories drawn from a search: how many it finds, the drawn ones, and whether a token was sent."""

    total: int
    places: list[Place]
    with_token: bool

    @property
    def listing_minutes(self) -> float:
        """Minutes that GitHub's limit makes a complete list take: its pages, and the questions for the slices."""
        slices = self.total / (0.75 * MOST_RESULTS)  # halving leaves them between half full and full
        return (self.total / PER_PAGE + 2 * slices) / PER_MINUTE[self.with_token]


class Search:
    """A search with the counts of the ranges that were already asked for."""

    def __init__(self, query: str, say: Callable[[str], None]) -> None:
        self.words, self.start, self.end = github_search.taken_apart(query)
        self.client = Client(say)
        self.known: dict[tuple[datetime, datetime], int] = {}

    def count(self, start: datetime, end: datetime) -> int:
        """Return the number of repositories created in a range."""
        if (start, end) not in self.known:
            self.known[start, end] = self.client.get(self._url(start, end, per_page=1))[0].total_count
        return self.known[start, end]

    def draw(self, chance: random.Random) -> list[github_search.Item]:
        """Return a random page of the results: each page of a slice is as likely as any other."""
        start, end = self.start, self.end
        while (count := self.count(start, end)) > MOST_RESULTS and start < end:
            middle = (start + (end - start) / 2).replace(microsecond=0)
            is_first = chance.random() * count < self.count(start, middle)
            start, end = (start, middle) if is_first else (middle + SECOND, end)
        page = chance.randint(1, math.ceil(min(max(count, 1), MOST_RESULTS) / PER_PAGE))
        return self.client.get(self._url(start, end, per_page=PER_PAGE, page=page))[0].items

    def _url(self, start: datetime, end: datetime, **more: int) -> str:
        query = github_search.in_range(self.words, start, end)
        return f"{self.client.api}/search/repositories?{urllib.parse.urlencode({'q': query, **more})}"


def draw(query: str, say: Callable[[str], None], most: int = DRAWN, seed: int = 0) -> Drawn:
    """Return `most` different repositories drawn from a search, or all of a search that finds no more.

    Raises:
        UserError: GitHub refuses the query or the token, or cannot be reached.
    """
    search, chance = Search(query, say), random.Random(seed)
    total = search.count(search.start, search.end)
    found: dict[str, github_search.Item] = {}
    for _ in range(4 * most):  # draws repeat in a small search
        if len(found) >= min(most, total):
            break
        items = search.draw(chance)
        taken = [chance.choice(items)] if items and total > PER_PAGE else items
        found |= {item.full_name: item for item in taken[: most - len(found)]}
    places = github_search.places(search.client.api, [github_search.facts_of(item) for item in found.values()])
    return Drawn(total, places, bool(search.client.token))


def in_all(values: Sequence[float], total: int) -> tuple[float, float]:
    """Return the estimate of a sum over all repositories, and its standard error (infinite for a single value)."""
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return mean * total, error * total * math.sqrt(max(0.0, 1 - len(values) / max(total, 1)))


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """What was found in the drawn repositories: documents and bytes of each, the number that could not be read."""

    documents: list[int]
    bytes: list[int]
    unreadable: int
    seconds: float


def read(places: Sequence[Place], selection: Selection, revision: str | None) -> Read:
    """Read repositories as a run would, and keep only numbers."""
    started, unreadable = time.monotonic(), 0
    documents, sizes = [], []
    seen: Seen = {}
    with opened(places, revision, selection, seen) as sources:
        for _, source in sources:
            if isinstance(source, UserError):
                unreadable += 1
                continue
            found = [each for _, each in source.outcomes(seen) if isinstance(each, Document)]
            documents.append(len(found))
            sizes.append(sum(len(each.content.encode("utf-8", "surrogatepass")) for each in found))
    return Read(documents, sizes, unreadable, time.monotonic() - started)


def sentences(drawn: Drawn, found: Read) -> list[str]:
    """Return the estimate in words."""
    lines = [
        f"GitHub counts {drawn.total:,} repositories; listing them takes about {minutes(drawn.listing_minutes)} at its "
        f"limit of {PER_MINUTE[drawn.with_token]} requests a minute"
        + ("" if drawn.with_token else f" (with GITHUB_TOKEN, {PER_MINUTE[True]})")
    ]
    if not found.documents:
        return [*lines, f"none of {len(drawn.places)} drawn repositories could be read, so nothing more is estimated"]
    readable = len(found.documents) / len(drawn.places)
    share = round(drawn.total * readable)
    documents, bytes_ = in_all(found.documents, share), in_all([size / 1e9 for size in found.bytes], share)
    reading = found.seconds / len(drawn.places) * drawn.total / 60
    unread = f", {found.unreadable} could not be read" if found.unreadable else ""
    return [
        *lines,
        f"estimated from {len(drawn.places)} repositories drawn at random{unread}:",
        f"about {documents[0]:,.0f} documents (standard error {documents[1]:,.0f})",
        f"about {bytes_[0]:,.2f} GB of text (standard error {bytes_[1]:,.2f})",
        f"about {minutes(reading)} to read them at the speed of this connection",
    ]


def minutes(count: float) -> str:
    """Return "3 minutes", or from two hours on "2.5 hours"."""
    return f"{count:.0f} minutes" if count < 120 else f"{count / 60:,.1f} hours"
