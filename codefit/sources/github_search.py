"""Complete lists of repositories from GitHub search, which returns at most 1,000 results per query.

The range of creation dates is halved until each slice has no more results than a query returns. Results are saved
slice by slice, so that an interrupted search continues where it stopped. Reference: docs.github.com/en/rest/search.

GITHUB_TOKEN, if set, is sent only to the API; GITHUB_API_URL is the API of a GitHub Enterprise server, as in GitHub
Actions.
"""

import dataclasses
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from codefit.console import duration, masked
from codefit.errors import UserError, first_line
from codefit.outputs import write_whole
from codefit.sources.locate import locate
from codefit.sources.source import Place

MOST_RESULTS = 1000  # results of one query, however many it counts
PER_PAGE = 100
ATTEMPTS = 6
LONGEST_WAIT = 3700  # seconds; rate limits are lifted within an hour
SECONDARY_WAIT = 60  # "wait for at least one minute", if the answer does not say how long
FIRST = datetime(2007, 10, 1, tzinfo=UTC)  # before the first repository on GitHub
SECOND = timedelta(seconds=1)
CREATED = re.compile(r'(?:^|\s)created:"?(\S+?)"?(?=\s|$)')
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


MOST_PAGES = MOST_RESULTS // PER_PAGE
ODD_ANSWER = "gave an answer that is not one of GitHub search"
LARGEST_ANSWER = 64 << 20  # bytes; a hundred repositories take about half a megabyte


class Item(msgspec.Struct):
    """The fields of a repository that are used here."""

    full_name: Annotated[str, Meta(min_length=1, max_length=1000)]
    clone_url: Annotated[str, Meta(min_length=1, max_length=10_000)]
    created_at: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$")]


class Answer(msgspec.Struct):
    """The fields of a search response that are used here."""

    total_count: Annotated[int, Meta(ge=0, le=10**12)]
    items: Annotated[list[Item], Meta(max_length=MOST_RESULTS)]
    incomplete_results: bool = False


class Said(msgspec.Struct):
    """A slice as it was saved."""

    start: str
    end: str
    count: int
    repositories: list[dict[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Repositories created from `start` to `end`, both included: their number, and the ones that were requested."""

    start: datetime
    end: datetime
    count: int
    repositories: tuple[dict[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{_stamp(self.start)}..{_stamp(self.end)}"


def search(query: str, state: Path, say: Callable[[str], None]) -> tuple[list[Place], int]:
    """Return every repository that a search finds, by creation date and name, and GitHub's count of them.

    Args:
        query: as in GitHub's search box: `language:python stars:>100 created:>2015-01-01`.
        state: file for the results so far. It belongs to one query, and the caller removes it.
        say: called with messages about waiting.

    Raises:
        UserError: GitHub refuses the query or the token, or cannot be reached.
    """
    words, start, end = taken_apart(query)
    client = Client(say)
    done, end = _recall(state, query, client.api, end)
    with state.open("a", encoding="utf-8") as file:
        for part in _slices(client, words, start, end, done, PER_PAGE):
            if f"{part}" not in done:
                file.write(_line(part))
                file.flush()
                os.fsync(file.fileno())
            done[f"{part}"] = part
    kept = [part for part in done.values() if part.count <= MOST_RESULTS]
    return places(client.api, [row for part in kept for row in part.repositories]), sum(part.count for part in kept)


def slices(query: str, say: Callable[[str], None]) -> list[Slice]:
    """Return the slices of a search, each with its count; nothing is written."""
    words, start, end = taken_apart(query)
    parts = _slices(Client(say), words, start, end, {}, 1)
    return [part for part in parts if part.count <= MOST_RESULTS]


def places(api: str, rows: list[dict[str, str]]) -> list[Place]:
    """Return the repositories of some rows by creation date and name. Raises UserError for one without https."""
    unique = {row["name"]: row for row in rows}
    ordered = sorted(unique.values(), key=lambda row: (row["created_at"], row["name"]))
    for row in ordered:
        if not row["url"].startswith("https://") and not _is_loopback(api):
            raise UserError(f"{api} names a repository at {row['url']}, which is not https; check GITHUB_API_URL.")
    return [Place("url", locate(row["url"]).where, row["name"]) for row in ordered]


# ------------------------------------------------------------------------------------------- slices


def taken_apart(query: str) -> tuple[str, datetime, datetime]:
    """Return a query without `created:`, and the first and last second of that range."""
    start, end = FIRST, _now()
    for text in CREATED.findall(query):
        low, high = _range(text)
        start, end = max(start, low or start), min(end, high or end)
    if start > end:
        raise UserError(f"{query!r} has an empty range of creation dates; check created:.")
    return " ".join(CREATED.sub(" ", query).split()), start, end


def _range(text: str) -> tuple[datetime | None, datetime | None]:
    """Return the first and last second of GitHub's `>day`, `>=day`, `<day`, `<=day`, `day..day` and `day`."""
    low, dots, high = text.partition("..")
    if dots:
        return (None if low == "*" else _moment(low)[0]), (None if high == "*" else _moment(high)[1])
    sign = re.match(r"[<>]?=?", text)
    first, last = _moment(text[len(sign[0]) :] if sign else text)
    ranges = {">": (last + SECOND, None), ">=": (first, None), "<": (None, first - SECOND), "<=": (None, last)}
    return ranges.get(sign[0] if sign else "", (first, last))


def _moment(text: str) -> tuple[datetime, datetime]:
    """Return the first and last second of a day; for a point in time, that time twice."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"created:{text} is not a date; write it as 2015-01-31, or 2015-01-31T12:00:00Z.") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment, moment if "T" in text else moment + timedelta(days=1) - SECOND


def _slices(
    client: "Client", words: str, start: datetime, end: datetime, done: dict[str, Slice], per_page: int
) -> Iterator[Slice]:
    """Yield slices with their repositories, and slices that were too large, without any."""
    part = done.get(f"{Slice(start, end, 0)}") or _asked(client, words, start, end, per_page)
    yield part
    if part.count <= MOST_RESULTS:
        return
    if start == end:
        raise UserError(
            f"{part.count:,} repositories were created at {_stamp(start)}, more than a search returns; "
            "narrow the query, for example with stars:>10."
        )
    middle = (start + (end - start) / 2).replace(microsecond=0)
    yield from _slices(client, words, start, middle, done, per_page)
    yield from _slices(client, words, middle + SECOND, end, done, per_page)


def _asked(client: "Client", words: str, start: datetime, end: datetime, per_page: int) -> Slice:
    """Request one slice; if it has more results than a query returns, only their number."""
    query = in_range(words, start, end)
    url = f"{client.api}/search/repositories?{urllib.parse.urlencode({'q': query, 'per_page': per_page})}"
    rows: list[dict[str, str]] = []
    count = None
    for _ in range(MOST_PAGES):
        answer, headers = client.get(url)
        count = answer.total_count if count is None else count
        if count > MOST_RESULTS or per_page == 1:
            return Slice(start, end, count)
        rows += [facts_of(item) for item in answer.items]
        url = client.next_page(headers)
        if not url:
            return Slice(start, end, count, tuple(rows))
    raise UserError(f"{client.api} has more pages than the {MOST_PAGES} of a search; check GITHUB_API_URL.")


def in_range(words: str, start: datetime, end: datetime) -> str:
    """Return a query without `created:` for the repositories created in a range."""
    return f"{words} created:{_stamp(start)}..{_stamp(end)}".strip()


def facts_of(item: Item) -> dict[str, str]:
    """Return what is kept of a repository."""
    return {"name": item.full_name, "url": item.clone_url, "created_at": item.created_at}


# ------------------------------------------------------------------------------------------- saved slices


def _line(row: Slice | dict[str, str]) -> str:
    if isinstance(row, Slice):
        fields = {"start": _stamp(row.start), "end": _stamp(row.end), "count": row.count}
        return json.dumps({**fields, "repositories": list(row.repositories)}) + "\n"
    return json.dumps(row) + "\n"


def _recall(state: Path, query: str, api: str, end: datetime) -> tuple[dict[str, Slice], datetime]:
    """Return the slices that an earlier run of the same search saved, and the end of its time range.

    A line that a kill cut off is ignored; the state of another search is discarded.
    """
    facts = {"query": query, "api": api}
    rows: list[Any] = [{**facts, "end": _stamp(end)}]
    parts: list[Slice] = []
    try:
        lines = state.read_text("utf-8").splitlines(keepends=True) if state.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        if found and {key: found[0][key] for key in facts} == facts:
            _moment(found[0]["end"])
            parts = [_slice_of(msgspec.convert(row, Said)) for row in found[1:]]
            rows = found
    except (ValueError, TypeError, LookupError, RecursionError, UserError):  # damaged: the search begins again
        parts = []
    write_whole(state, _line(rows[0]) + "".join(map(_line, parts)))
    return {f"{part}": part for part in parts}, _moment(rows[0]["end"])[0]


def _slice_of(row: Said) -> Slice:
    for item in row.repositories:
        _ = item["name"], item["url"], item["created_at"]
    return Slice(_moment(row.start)[0], _moment(row.end)[0], row.count, tuple(row.repositories))


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _is_loopback(url: str) -> bool:
    try:
        return urllib.parse.urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------- HTTP


class Client:
    """A client of the API: it waits when asked to, and turns failures into one sentence."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.api = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
        self.token = os.environ.get("GITHUB_TOKEN", "").strip()
        self.say = say
        if masked(self.api) != self.api:
            raise UserError("GITHUB_API_URL contains a user or token; remove it and set GITHUB_TOKEN instead.")
        if not self.api.startswith("https://") and not (self.api.startswith("http://") and _is_loopback(self.api)):
            raise UserError(f"GITHUB_API_URL {self.api} is not https and would expose a token; use an https address.")
        if self.token and not self.token.isprintable():
            raise UserError("GITHUB_TOKEN contains a line end or another character that no token has; set it again.")

    def get(self, url: str) -> tuple[Answer, Message]:
        """Return the answer and its headers, after retries if needed."""
        for attempt in range(ATTEMPTS):
            trouble, wait = "", 2.0**attempt
            try:
                with urllib.request.urlopen(self._request(url), timeout=60) as response:
                    answer = msgspec.json.decode(response.read(LARGEST_ANSWER), type=Answer)
                    if not answer.incomplete_results:
                        return answer, response.headers
                    trouble = "gave incomplete results"
            except urllib.error.HTTPError as error:
                trouble, wait = self._refusal(error, wait)
            except (ValueError, RecursionError):  # msgspec's errors too
                trouble = ODD_ANSWER
            except (OSError, http.client.HTTPException) as error:
                trouble = f"cannot be reached ({_reason(error)})"
            if attempt + 1 < ATTEMPTS:
                self.say(f"{self.api} {trouble}; waiting {duration(wait)}")
                time.sleep(wait)
        raise UserError(f"{self.api} {trouble}, {ATTEMPTS} times; run the same command later to continue.")

    def _request(self, url: str) -> urllib.request.Request:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        request = urllib.request.Request(url, headers={**headers, "User-Agent": "codefit"})
        if self.token:  # not sent on when redirected to another server
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request

    def _refusal(self, error: urllib.error.HTTPError, wait: float) -> tuple[str, float]:
        """Return the reason that the server gave, and how many seconds to wait.

        Raises:
            UserError: waiting will not help.
        """
        message = _message(error)
        if error.code >= 500:
            return f"answered {error.code}", self._bearable(_retry_after(error.headers) or wait)
        limited = "rate limit" in message.lower() or error.headers.get("X-RateLimit-Remaining") == "0"
        if error.code == 429 or (error.code == 403 and (limited or error.headers.get("Retry-After"))):
            seconds = _retry_after(error.headers) or _until_reset(error.headers) or max(wait, SECONDARY_WAIT)
            return "limits the rate", self._bearable(seconds)
        if error.code == 401:
            raise UserError(f"{self.api} refuses GITHUB_TOKEN; set a valid one, or none.")
        if error.code == 422:
            raise UserError(f"{self.api} does not understand the search ({message}); correct --github_search.")
        raise UserError(f"{self.api} answered {error.code} ({message}); check GITHUB_API_URL and GITHUB_TOKEN.")

    def _bearable(self, seconds: float) -> float:
        if seconds > LONGEST_WAIT:
            raise UserError(f"{self.api} asks to wait {duration(seconds)}; run the same command again after that.")
        return seconds

    def next_page(self, headers: Message) -> str:
        """Return the URL of the next page from the Link header, or ""; it must be on the same server."""
        found = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("Link", ""))
        url = found[1] if found else ""
        if url and not _same_server(url, self.api):
            raise UserError(f"{self.api} names a next page on another server; check GITHUB_API_URL.")
        return url


def _same_server(url: str, other: str) -> bool:
    try:
        return urllib.parse.urlsplit(url)[:2] == urllib.parse.urlsplit(other)[:2]
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return first_line(reason) if isinstance(reason, Exception) else str(reason or type(error).__name__)


def _message(error: urllib.error.HTTPError) -> str:
    """Return the error message of an answer, in one short line."""
    try:
        said = json.loads(error.read(LARGEST_ANSWER))
        texts = [said["message"], *(row["message"] for row in said.get("errors", []) if "message" in row)]
    except (ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError, http.client.HTTPException):
        return str(error.reason or "no reason")
    return " ".join(" ".join(map(str, texts)).split())[:200].rstrip(".") or "no reason"


def _retry_after(headers: Message) -> float:
    """Return the seconds that a server asks to wait (given as a number or a date); 0 if it does not ask."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]+", text):
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _until_reset(headers: Message) -> float:
    if headers.get("X-RateLimit-Remaining") != "0":
        return 0.0
    text = headers.get("X-RateLimit-Reset", "")
    return max(1.0, float(text[:12]) - time.time() + 1) if re.fullmatch("[0-9]+", text) else 0.0
