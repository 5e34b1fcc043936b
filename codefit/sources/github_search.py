"""Lists of repositories from the search of GitHub, complete: a search gives 1,000 results at most, so it is sliced.

The range of creation dates is halved until a slice has no more results than can be had. What was found is written
down slice by slice; a search that was stopped goes on where it was. Reference: docs.github.com/en/rest/search.

GITHUB_TOKEN, where it is set, is sent to the API and to nobody else; GITHUB_API_URL names the API of a GitHub
Enterprise server, as in GitHub Actions.
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
from pathlib import Path
from typing import Any

from codefit.console import duration
from codefit.errors import UserError
from codefit.outputs import write_whole
from codefit.sources.locate import locate
from codefit.sources.source import Place

MOST_RESULTS = 1000  # of one search, whatever it counts
PER_PAGE = 100
ATTEMPTS = 6
LONGEST_WAIT = 3700  # seconds; a rate limit is lifted within the hour
SECONDARY_WAIT = 60  # "wait for at least one minute", where the answer does not say how long
FIRST = datetime(2007, 10, 1, tzinfo=UTC)  # before the first repository on GitHub
SECOND = timedelta(seconds=1)
CREATED = re.compile(r'(?:^|\s)created:"?(\S+?)"?(?=\s|$)')
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Repositories created from `start` to `end`, both included: how many there are, and those that were asked for."""

    start: datetime
    end: datetime
    count: int
    repositories: tuple[dict[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{_stamp(self.start)}..{_stamp(self.end)}"


def search(query: str, state: Path, say: Callable[[str], None]) -> tuple[list[Place], int]:
    """Return every repository that a search finds, by creation date and name, and how many GitHub counts.

    Args:
        query: as in GitHub's search box: `language:python stars:>100 created:>2015-01-01`.
        state: a file that takes what was found so far. It belongs to one query, and the caller removes it.
        say: takes sentences about waiting.

    Raises:
        UserError: GitHub refuses the query or the token, or cannot be reached.
    """
    words, start, end = _taken_apart(query, _now())
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
    return _places(client.api, [row for part in kept for row in part.repositories]), sum(part.count for part in kept)


def slices(query: str, say: Callable[[str], None]) -> list[Slice]:
    """Return the slices that a search would be done in, each with its count; nothing is written."""
    words, start, end = _taken_apart(query, _now())
    parts = _slices(Client(say), words, start, end, {}, 1)
    return [part for part in parts if part.count <= MOST_RESULTS]


def _places(api: str, rows: list[dict[str, str]]) -> list[Place]:
    unique = {row["name"]: row for row in rows}
    ordered = sorted(unique.values(), key=lambda row: (row["created_at"], row["name"]))
    for row in ordered:
        if not row["url"].startswith("https://") and not _is_loopback(api):
            raise UserError(f"{api} names a repository at {row['url']}, which is not https; check GITHUB_API_URL.")
    return [Place("url", locate(row["url"]).where, row["name"]) for row in ordered]


# ------------------------------------------------------------------------------------------- slices


def _taken_apart(query: str, now: datetime) -> tuple[str, datetime, datetime]:
    """Return a query without `created:`, and the range that it names in seconds."""
    start, end = FIRST, now
    for text in CREATED.findall(query):
        low, high = _range(text)
        start, end = max(start, low or start), min(end, high or end)
    if start > end:
        raise UserError(f"{query!r} asks for no time at all; check created:.")
    return " ".join(CREATED.sub(" ", query).split()), start, end


def _range(text: str) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last second of GitHub's `>day`, `>=day`, `<day`, `<=day`, `day..day` and `day`."""
    low, dots, high = text.partition("..")
    if dots:
        return (None if low == "*" else _moment(low)[0]), (None if high == "*" else _moment(high)[1])
    sign = re.match(r"[<>]?=?", text)
    first, last = _moment(text[len(sign[0]) :] if sign else text)
    ranges = {">": (last + SECOND, None), ">=": (first, None), "<": (None, first - SECOND), "<=": (None, last)}
    return ranges.get(sign[0] if sign else "", (first, last))


def _moment(text: str) -> tuple[datetime, datetime]:
    """Return the first and the last second of a day, or twice a moment."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"created:{text} is no date; write it as 2015-01-31, or 2015-01-31T12:00:00Z.") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment, moment if "T" in text else moment + timedelta(days=1) - SECOND


def _slices(
    client: "Client", words: str, start: datetime, end: datetime, done: dict[str, Slice], per_page: int
) -> Iterator[Slice]:
    """Yield slices with their repositories, and those that were too large, which hold none."""
    part = done.get(f"{Slice(start, end, 0)}") or _asked(client, words, start, end, per_page)
    yield part
    if part.count <= MOST_RESULTS:
        return
    if start == end:
        raise UserError(
            f"{part.count:,} repositories were created at {_stamp(start)}, more than a search gives; "
            "narrow the query, for example with stars:>10."
        )
    middle = (start + (end - start) / 2).replace(microsecond=0)
    yield from _slices(client, words, start, middle, done, per_page)
    yield from _slices(client, words, middle + SECOND, end, done, per_page)


def _asked(client: "Client", words: str, start: datetime, end: datetime, per_page: int) -> Slice:
    """Ask for one slice; where there are more results than can be had, only how many."""
    query = f"{words} created:{_stamp(start)}..{_stamp(end)}".strip()
    url = f"{client.api}/search/repositories?{urllib.parse.urlencode({'q': query, 'per_page': per_page})}"
    rows: list[dict[str, str]] = []
    count = None
    while url:
        answer, headers = client.get(url)
        count = answer["total_count"] if count is None else count
        if count > MOST_RESULTS or per_page == 1:
            return Slice(start, end, count)
        rows += [_row(item) for item in answer["items"]]
        url = client.next_page(headers)
    return Slice(start, end, int(count or 0), tuple(rows))


def _row(item: dict[str, Any]) -> dict[str, str]:
    return {"name": item["full_name"], "url": item["clone_url"], "created_at": item["created_at"]}


# ------------------------------------------------------------------------------------------- what is written down


def _line(row: Slice | dict[str, str]) -> str:
    if isinstance(row, Slice):
        fields = {"start": _stamp(row.start), "end": _stamp(row.end), "count": row.count}
        return json.dumps({**fields, "repositories": list(row.repositories)}) + "\n"
    return json.dumps(row) + "\n"


def _recall(state: Path, query: str, api: str, end: datetime) -> tuple[dict[str, Slice], datetime]:
    """Return the slices that an earlier run of the same search wrote down, and the end of time it had set.

    A line that was cut off by a kill is no line; a state of another search is begun again.
    """
    lines = state.read_text("utf-8").splitlines(keepends=True) if state.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    facts = {"query": query, "api": api}
    if not rows or {key: rows[0].get(key) for key in facts} != facts:
        rows = [{**facts, "end": _stamp(end)}]
    parts = [
        Slice(_moment(row["start"])[0], _moment(row["end"])[0], row["count"], tuple(row["repositories"]))
        for row in rows[1:]
    ]
    write_whole(state, _line(rows[0]) + "".join(map(_line, parts)))
    return {f"{part}": part for part in parts}, _moment(rows[0]["end"])[0]


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _is_loopback(url: str) -> bool:
    return urllib.parse.urlsplit(url).hostname in LOOPBACK


# ------------------------------------------------------------------------------------------- HTTP


class Client:
    """Asks the API, waits when it says so, and turns what goes wrong into one sentence."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.api = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
        self.token = os.environ.get("GITHUB_TOKEN", "").strip()
        self.say = say
        if urllib.parse.urlsplit(self.api).username:
            raise UserError("GITHUB_API_URL may not hold a user or token; set GITHUB_TOKEN instead.")
        if not self.api.startswith("https://") and not (self.api.startswith("http://") and _is_loopback(self.api)):
            raise UserError(f"GITHUB_API_URL {self.api} is not https; a token would travel in the open.")
        if self.token and not self.token.isprintable():
            raise UserError("GITHUB_TOKEN holds a line end or another character that no token has; set it again.")

    def get(self, url: str) -> tuple[dict[str, Any], Message]:
        """Return the answer and its headers, after as many attempts as it takes and is sensible."""
        for attempt in range(ATTEMPTS):
            trouble, wait = "", 2.0**attempt
            try:
                with urllib.request.urlopen(self._request(url), timeout=60) as response:
                    answer = json.loads(response.read())
                    if isinstance(answer, dict) and {"total_count", "items"} <= answer.keys():
                        if not answer.get("incomplete_results"):
                            return answer, response.headers
                        trouble = "gave incomplete results"
                    else:
                        trouble = "did not answer as the search of GitHub does"
            except urllib.error.HTTPError as error:
                trouble, wait = self._refusal(error, wait)
            except ValueError:
                trouble = "did not answer as the search of GitHub does"
            except (OSError, http.client.HTTPException) as error:
                trouble = f"cannot be reached ({getattr(error, 'reason', None) or type(error).__name__})"
            if attempt + 1 < ATTEMPTS:
                self.say(f"{self.api} {trouble}; waiting {duration(wait)}")
                time.sleep(wait)
        raise UserError(f"{self.api} {trouble}, {ATTEMPTS} times; run the same command later to continue.")

    def _request(self, url: str) -> urllib.request.Request:
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        request = urllib.request.Request(url, headers={**headers, "User-Agent": "codefit"})
        if self.token:  # a redirect to another place must not carry it there
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return request

    def _refusal(self, error: urllib.error.HTTPError, wait: float) -> tuple[str, float]:
        """Return what the server said and how many seconds to wait.

        Raises:
            UserError: waiting will not help.
        """
        message = _message(error)
        if error.code >= 500:
            return f"answered {error.code}", _retry_after(error.headers) or wait
        limited = "rate limit" in message.lower() or error.headers.get("X-RateLimit-Remaining") == "0"
        if error.code == 429 or (error.code == 403 and (limited or error.headers.get("Retry-After"))):
            seconds = _retry_after(error.headers) or _until_reset(error.headers) or max(wait, SECONDARY_WAIT)
            if seconds > LONGEST_WAIT:
                raise UserError(f"{self.api} asks to wait {duration(seconds)}; run the same command again after that.")
            return "limits the rate", seconds
        if error.code == 401:
            raise UserError(f"{self.api} refuses GITHUB_TOKEN; set a valid one, or none.")
        if error.code == 422:
            raise UserError(f"{self.api} does not understand the search ({message}); correct --github_search.")
        raise UserError(f"{self.api} answered {error.code} ({message}); check GITHUB_API_URL and GITHUB_TOKEN.")

    def next_page(self, headers: Message) -> str:
        """Return the URL that the Link header calls the next one, or ""; it must lie on the same server."""
        found = re.search(r'<([^>]+)>;\s*rel="next"', headers.get("Link", ""))
        url = found[1] if found else ""
        if url and urllib.parse.urlsplit(url)[:2] != urllib.parse.urlsplit(self.api)[:2]:
            raise UserError(f"{self.api} names a next page on another server; nothing is sent there.")
        return url


def _message(error: urllib.error.HTTPError) -> str:
    """Return what an answer says of itself, in one short line."""
    try:
        said = json.loads(error.read())
        texts = [said["message"], *(row["message"] for row in said.get("errors", []) if "message" in row)]
    except (ValueError, KeyError, TypeError, AttributeError, OSError, http.client.HTTPException):
        return error.reason or "no reason"
    return " ".join(" ".join(map(str, texts)).split())[:200].rstrip(".")


def _retry_after(headers: Message) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _until_reset(headers: Message) -> float:
    if headers.get("X-RateLimit-Remaining") != "0":
        return 0.0
    text = headers.get("X-RateLimit-Reset", "")
    return max(1.0, float(text) - time.time() + 1) if text.isdigit() else 0.0
