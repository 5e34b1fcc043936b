"""The search of GitHub, against a server on this machine that speaks its API, with the limits and the moods of it."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

import parse_data
from codefit import outputs
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.records import read_documents
from codefit.sources import github_search, search_estimate
from tests.support.sources import git, rejections, write

TOKEN = "ghp_secret0123456789"
START = datetime(2020, 1, 1, tzinfo=UTC)


class Handler(BaseHTTPRequestHandler):
    """Answers `created:a..b` as GitHub does; `server.moods` are answers that come first, (status, headers, body)."""

    def do_GET(self):
        server = self.server
        url = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        server.asked.append((query["q"], int(query.get("page", 1))))
        server.tokens.append(self.headers.get("Authorization"))
        threading.Event().wait(server.delay)  # tests note what `time.sleep` is asked for
        if server.moods:
            self.answer(*server.moods.pop(0))
            return
        assert url.path == "/search/repositories"
        low, high = re.search(r"created:(\S+)\.\.(\S+)", query["q"]).groups()
        found = [row for row in server.rows if low <= row["created_at"] <= high]
        page, per_page = int(query.get("page", 1)), int(query["per_page"])
        if page * per_page > 1000:
            self.answer(422, {}, {"message": "Only the first 1000 search results are available"})
            return
        items = found[(page - 1) * per_page : page * per_page]
        more = page * per_page < min(len(found), 1000)
        link = f'<{server.url}/search/repositories?{url.query.split("&page=")[0]}&page={page + 1}>; rel="next"'
        headers = {"Link": f'{link}, <{server.url}>; rel="last"'} if more else {}
        self.answer(200, headers, {"total_count": len(found), "incomplete_results": False, "items": items})

    def answer(self, status, headers, body):
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(content)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


def row(number, url="https://example.invalid/x"):
    created = (START + timedelta(seconds=number * 40_000)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"full_name": f"owner/r{number}", "clone_url": url, "created_at": created}


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.rows, server.asked, server.tokens, server.moods, server.delay = [], [], [], [], 0
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("GITHUB_API_URL", server.url)
        monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
        yield server
        server.shutdown()


@pytest.fixture
def waits(monkeypatch):
    """Waiting is noted, not done."""
    found = []
    monkeypatch.setattr(github_search.time, "sleep", found.append)
    return found


def names(query, tmp_path):
    said = []
    places, counted = github_search.search(query, tmp_path / "state", said.append)
    return [place.name for place in places], counted, said


# --------------------------------------------------------------------------------------------- slices


def test_a_search_is_complete_beyond_a_thousand_results(server, tmp_path):
    server.rows = [row(number) for number in range(2345)]
    found, counted, said = names("language:kotlin stars:>100", tmp_path)
    assert found == [f"owner/r{number}" for number in range(2345)]
    assert (counted, said) == (2345, [])
    assert all(query.startswith("language:kotlin stars:>100 created:") for query, _ in server.asked)
    assert set(server.tokens) == {f"Bearer {TOKEN}"}
    assert max(page for _, page in server.asked) <= 10


def test_slices_touch_and_do_not_overlap(server):
    server.rows = [row(number) for number in range(3000)]
    parts = github_search.slices("stars:>1 created:>=2020-01-01", print)
    assert parts[0].start == START
    for before, after in itertools.pairwise(parts):
        assert after.start - before.end == timedelta(seconds=1)
    assert sum(part.count for part in parts) == 3000
    assert max(part.count for part in parts) <= 1000
    assert len(server.asked) == 2 * len(parts) - 1  # one question a node of the tree, no pages


@pytest.mark.parametrize(
    ("created", "first", "last"),
    [
        ("created:2020-01-02", "2020-01-02T00:00:00Z", "2020-01-02T23:59:59Z"),
        ("created:>2020-01-02", "2020-01-03T00:00:00Z", "now"),
        ("created:>=2020-01-02", "2020-01-02T00:00:00Z", "now"),
        ("created:<2020-01-02", "2007-10-01T00:00:00Z", "2020-01-01T23:59:59Z"),
        ("created:<=2020-01-02", "2007-10-01T00:00:00Z", "2020-01-02T23:59:59Z"),
        ("created:2020-01-02..2020-02-03", "2020-01-02T00:00:00Z", "2020-02-03T23:59:59Z"),
        ("created:2020-01-02..*", "2020-01-02T00:00:00Z", "now"),
        ("created:>2020-01-02T10:00:00Z created:<2020-01-03", "2020-01-02T10:00:01Z", "2020-01-02T23:59:59Z"),
        ("created:>=2020-01-02T10:00:00+02:00", "2020-01-02T08:00:00Z", "now"),
    ],
)
def test_the_time_of_a_query(server, monkeypatch, created, first, last):
    class Then(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2021, 5, 6, 7, 8, 9, tzinfo=tz)

    monkeypatch.setattr(github_search, "datetime", Then)
    (part,) = github_search.slices(f"a {created} b", print)
    assert str(part) == f"{first}..{last.replace('now', '2021-05-06T07:08:09Z')}"
    assert server.asked == [(f"a b created:{part}", 1)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("created:>soon", "created:soon is not a date; write it as 2015-01-31"),
        ("created:>2020-01-02 created:<2019-01-01", "has an empty range of creation dates; check created:"),
    ],
)
def test_invalid_dates_are_one_sentence(server, query, message):
    with pytest.raises(UserError, match=message):
        github_search.slices(query, print)
    assert server.asked == []


def test_a_second_with_too_many_repositories_is_one_sentence(server, tmp_path):
    server.rows = [{**row(0), "full_name": f"owner/r{number}"} for number in range(1001)]
    with pytest.raises(UserError, match=r"1,001 repositories were created at 2020-01-01T00:00:00Z.*narrow the query"):
        names("created:2020-01-01", tmp_path)


# --------------------------------------------------------------------------------------------- moods of the server


@pytest.mark.parametrize(
    ("mood", "waited", "said"),
    [
        ((429, {"Retry-After": 7}, {"message": "slow down"}), 7, "limits the rate; waiting 7 s"),
        ((403, {"Retry-After": 90}, {"message": "forbidden"}), 90, "limits the rate; waiting 1 min 30 s"),
        ((403, {}, {"message": "You have exceeded a secondary rate limit."}), 60, "limits the rate; waiting 1 min 0 s"),
        ((502, {}, "<html>Bad gateway</html>"), 1, "answered 502; waiting 1 s"),
        ((503, {"Retry-After": 11}, "<html>"), 11, "answered 503; waiting 11 s"),
        ((200, {}, "<html>A proxy says hello</html>"), 1, "gave an answer that is not one of GitHub search"),
        ((200, {}, {"some": "JSON"}), 1, "gave an answer that is not one of GitHub search"),
        ((200, {}, {"total_count": 1, "incomplete_results": True, "items": []}), 1, "gave incomplete results"),
    ],
)
def test_temporary_failures_are_retried(server, waits, tmp_path, mood, waited, said):
    server.rows, server.moods = [row(1)], [mood]
    found, _, sentences = names("a", tmp_path)
    assert found == ["owner/r1"]
    assert waits == [waited]
    assert len(sentences) == 1
    assert said in sentences[0]


def test_the_reset_of_the_rate_limit_is_waited_for(server, waits, tmp_path):
    headers = {"X-RateLimit-Remaining": 0, "X-RateLimit-Reset": int(time.time()) + 50}
    server.rows, server.moods = [row(1)], [(403, headers, {"message": "API rate limit exceeded"})]
    assert names("a", tmp_path)[0] == ["owner/r1"]
    assert 45 < waits[0] < 55


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ((401, {}, {"message": "Bad credentials"}), "refuses GITHUB_TOKEN; set a valid one, or none"),
        ((403, {}, {"message": "Resource not accessible"}), r"answered 403 \(Resource not accessible\); check GITHUB"),
        ((404, {}, {"message": "Not Found"}), r"answered 404 \(Not Found\); check GITHUB_API_URL"),
        (
            (422, {}, {"message": "Validation Failed", "errors": [{"message": "The search is\nlong."}]}),
            r"does not understand the search \(Validation Failed The search is long\); correct --github_search",
        ),
        ((429, {"Retry-After": 9999}, {}), "asks to wait 2 h 46 min; run the same command again after that"),
        (
            (
                200,
                {"Link": '<http://example.invalid/2>; rel="next"'},
                {"total_count": 200, "incomplete_results": False, "items": []},
            ),
            "a next page on another server",
        ),
    ],
)
def test_permanent_failures_are_one_sentence(server, waits, tmp_path, mood, message):
    server.moods = [mood]
    with pytest.raises(UserError, match=message) as caught:
        names("a", tmp_path)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert waits == []


def test_retries_end_after_some_attempts(server, waits, tmp_path):
    server.moods = [(500, {}, "")] * 99
    with pytest.raises(UserError, match="answered 500, 6 times; run the same command later to continue"):
        names("a", tmp_path)
    assert waits == [1, 2, 4, 8, 16]


def test_an_unreachable_server_is_one_sentence(waits, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match=r"cannot be reached \(.*refused.*\), 6 times"):
        names("a", tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GITHUB_API_URL", "http://example.invalid", "is not https and would expose a token"),
        ("GITHUB_API_URL", "file:///etc", "is not https"),
        ("GITHUB_API_URL", f"https://me:{TOKEN}@example.invalid", "contains a user or token"),
        ("GITHUB_TOKEN", f"{TOKEN}\nX-Evil: 1", "GITHUB_TOKEN contains a line end"),
    ],
)
def test_settings_that_are_refused(monkeypatch, tmp_path, name, value, message):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message) as caught:
        names("a", tmp_path)
    assert TOKEN not in str(caught.value)


ODD_FIELDS = [None, True, 7, -1, 1.5, "x", [], [[]], {}, {"a": 1}, 10**30]
ODD_ANSWERS = [
    *("[]", "null", "7", '"x"', "{}", "[" * 99_999, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
    *({"total_count": odd, "items": []} for odd in ODD_FIELDS if odd != 7),
    *({"total_count": 1, "items": odd} for odd in ODD_FIELDS if odd != []),
    *({"total_count": 1, "items": [{**row(1), name: odd}]} for odd in ODD_FIELDS for name in row(1) if odd != "x"),
    *({"total_count": 1, "items": [{**row(1), "created_at": odd}]} for odd in ("x", "", "2020-01-01")),
    *({"total_count": 1, "items": [row(1)], "incomplete_results": odd} for odd in (7, "x", [], None)),
]


@pytest.mark.parametrize("odd", ODD_ANSWERS, ids=lambda odd: str(odd)[:60])
def test_an_answer_of_other_types_is_one_sentence(server, waits, tmp_path, odd):
    server.moods = [(200, {}, odd)] * 6
    with pytest.raises(UserError, match="gave an answer that is not one of GitHub search, 6 times"):
        names("a", tmp_path)


@pytest.mark.parametrize("status", [403, 429, 500, 503])
@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("-5", 1, 60),
        ("", 1, 60),
        ("soon", 1, 60),
        ("²", 1, 60),
        ("nan", 1, 60),
        ("0", 1, 60),
        ("7.5", 1, 60),
        ("Mon, 01 Jan 1990 00:00:00 GMT", 1, 60),
        ("12", 12, 60),
    ],
)
def test_an_odd_retry_after_is_a_wait_that_ends(server, waits, tmp_path, status, asked, least, most):
    server.rows = [row(1)]
    server.moods = [(status, {"Retry-After": asked.encode().decode("latin-1")}, {"message": "rate limit"})]
    assert names("a", tmp_path)[0] == ["owner/r1"]
    assert len(waits) == 1
    assert least <= waits[0] <= most


@pytest.mark.parametrize("status", [403, 429, 500, 503])
@pytest.mark.parametrize("asked", ["99999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_that_is_too_long_is_one_sentence(server, waits, tmp_path, status, asked):
    server.moods = [(status, {"Retry-After": asked}, {"message": "rate limit"})]
    with pytest.raises(UserError, match=r"asks to wait .* h .*; run the same command again after that"):
        names("a", tmp_path)
    assert waits == []


def test_a_date_in_retry_after_is_waited_for(server, waits, tmp_path):
    server.rows = [row(1)]
    server.moods = [(429, {"Retry-After": formatdate(time.time() + 100, usegmt=True)}, {"message": "rate limit"})]
    assert names("a", tmp_path)[0] == ["owner/r1"]
    assert 60 < waits[0] <= 100


def test_next_pages_without_end_are_one_sentence(server, tmp_path):
    link = {"Link": f'<{server.url}/search/repositories?q=created:2020..2021&per_page=100>; rel="next"'}
    server.moods = [(200, link, {"total_count": 5, "items": [row(1)]})] * 99
    with pytest.raises(UserError, match="has more pages than the 10 of a search"):
        names("a", tmp_path)


@pytest.mark.parametrize("link", ["http://[::1", "file:///etc/passwd", "x", "//[", "https://example.invalid/x"])
def test_an_odd_next_page_is_one_sentence(server, tmp_path, link):
    server.moods = [(200, {"Link": f'<{link}>; rel="next"'}, {"total_count": 5, "items": [row(1)]})]
    with pytest.raises(UserError, match="names a next page on another server"):
        names("a", tmp_path)


@pytest.mark.parametrize(
    "said", ["[]", "null", '{"message": []}', '{"message": 7, "errors": 7}', '{"errors": [7]}', ""]
)
def test_an_odd_refusal_is_one_sentence(server, tmp_path, said):
    server.moods = [(404, {}, said)]
    with pytest.raises(UserError, match=r"answered 404 .*; check GITHUB_API_URL"):
        names("a", tmp_path)


@pytest.mark.parametrize("odd", ["[]", "7", "null", "{}", '{"start": 7}', "\x00", '{"query": "a"}'])
def test_a_damaged_state_begins_the_search_again(server, tmp_path, odd):
    server.rows = [row(number) for number in range(1200)]
    names("a", tmp_path)
    state = tmp_path / "state"
    lines = state.read_text().splitlines(keepends=True)
    for number in range(len(lines)):
        state.write_text("".join([*lines[:number], odd + "\n", *lines[number + 1 :]]))
        assert len(names("a", tmp_path)[0]) == 1200


@pytest.mark.parametrize("url", ["http://[::1", "https://host/?token=x", "https://:x@host", "//x:y@host"])
def test_odd_addresses_of_the_api_are_refused(monkeypatch, tmp_path, url):
    monkeypatch.setenv("GITHUB_API_URL", url)
    with pytest.raises(UserError, match="GITHUB_API_URL"):
        names("a", tmp_path)


def test_a_redirect_to_another_place_does_not_carry_the_token(server, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        other.url, other.asked, other.tokens, other.rows, other.moods, other.delay = "", [], [], [row(1)], [], 0
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        target = f"http://127.0.0.1:{other.server_port}/search/repositories"
        query = "?q=created:2020-01-01..2030-01-01&per_page=100"
        server.moods = [(302, {"Location": target + query}, "")]
        assert names("a", tmp_path)[0] == ["owner/r1"]
        other.shutdown()
    assert other.tokens == [None]


# --------------------------------------------------------------------------------------------- the whole stage


@pytest.fixture
def repositories(server, tmp_path):
    """Three repositories that the search finds; the second of them is gone."""
    for number in (1, 2, 3):
        folder = write(tmp_path / f"r{number}", {"a.kt": b"val a = %d\n" % number, "same.kt": b"val same = 1\n"})
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "first")
    places = {1: tmp_path / "r1", 2: tmp_path / "gone", 3: tmp_path / "r3"}
    server.rows = [row(number, f"file://{place}") for number, place in places.items()]
    return tmp_path


def run(output, *words):
    parse_data.main(["--github_search", "language:kotlin", "--output", str(output), *words])


def test_found_repositories_are_parsed_and_a_gone_one_is_counted(repositories, server, capsys):
    output = repositories / "out.jsonl"
    run(output)
    documents = [(d.repository, d.path) for d in read_documents(str(output))]
    assert documents == [("owner/r1", "a.kt"), ("owner/r1", "same.kt"), ("owner/r3", "a.kt")]
    gone, same = rejections(output)
    assert (gone["repository"], gone["rule"]) == ("owner/r2", "source cannot be read")
    assert (same["repository"], same["rule"], same["value"]) == ("owner/r3", "same blob", "owner/r1/same.kt")
    manifest = json.loads(outputs.manifest_of(output).read_text())
    assert manifest["github_search"] == {"query": "language:kotlin", "counted": 3, "found": 3}
    assert manifest["files"] == 5 == manifest["documents"] + sum(manifest["rejections"].values())
    assert "GitHub reports 3 repositories and returned 3" in capsys.readouterr().out
    assert sorted(path.name for path in repositories.glob("out.*")) == [
        *("out.jsonl", "out.jsonl.manifest.json", "out.jsonl.rejected.jsonl"),
    ]
    assert not any(TOKEN in path.read_text() for path in repositories.glob("out.*"))


def test_a_dry_run_counts_and_writes_nothing(repositories, capsys):
    before = sorted(repositories.iterdir())
    run(repositories / "out.jsonl", "--dry_run")
    printed = capsys.readouterr().out
    assert re.search(r"2007-10-01T00:00:00Z\.\.20\S+Z +3\n3 repositories, slices: 1", printed)
    assert sorted(repositories.iterdir()) == before


def test_a_dry_run_estimates_from_what_it_reads(repositories, capsys, monkeypatch):
    run(repositories / "out.jsonl", "--dry_run")
    printed = capsys.readouterr().out
    assert (
        "GitHub counts 3 repositories; listing them takes about 0 minutes at its limit of 30 requests a minute"
        in printed
    )
    assert "estimated from 3 repositories drawn at random, 1 could not be read:" in printed
    assert "about 3 documents (standard error 0)" in printed  # both readable ones were read: nothing is left to chance
    monkeypatch.setattr(parse_data, "MOST_LISTED", 2)
    run(repositories / "out.jsonl", "--dry_run")
    assert "slices" not in capsys.readouterr().out


def test_every_repository_is_as_likely_to_be_drawn(server):
    crowd = [row(number / 40_000) for number in range(4000)]  # within an hour
    others = [{**row(number), "full_name": f"other/r{number}"} for number in range(1, 1001)]  # within 460 days
    server.rows = [{**each, "full_name": f"crowd/r{n}"} for n, each in enumerate(crowd)] + others
    query = "language:kotlin created:2020-01-01..2022-01-01"
    drawn = search_estimate.draw(query, print, most=60)
    assert drawn.total == 5000
    assert len({place.name for place in drawn.places}) == 60
    share = sum(place.name.startswith("crowd/") for place in drawn.places) / 60
    assert 0.65 < share < 0.93  # 0.8, with two and a half standard errors on each side
    assert search_estimate.draw(query, print, most=60) == drawn
    assert drawn.listing_minutes == pytest.approx((50 + 2 * 5000 / 750) / 30)


def test_a_search_without_results_is_estimated_too(server, capsys, tmp_path):
    parse_data.main(["--github_search", "stars:>9", "--output", str(tmp_path / "o.jsonl"), "--dry_run"])
    assert "GitHub counts 0 repositories" in capsys.readouterr().out


def test_a_sum_over_all_from_a_few():
    assert search_estimate.in_all([2, 4, 6], 300) == (1200, pytest.approx(300 * 2 / 3**0.5 * 0.99**0.5))
    assert search_estimate.in_all([2, 4, 6], 3) == (12, 0)
    assert search_estimate.in_all([5], 10) == (50, float("inf"))


def test_https_is_asked_of_repositories_of_a_server_elsewhere(server, tmp_path, monkeypatch):
    def through_the_server_here(request, **options):
        request.full_url = request.full_url.replace("https://github.example", server.url)
        return to_the_network(request, **options)

    to_the_network = urllib.request.urlopen
    monkeypatch.setattr(urllib.request, "urlopen", through_the_server_here)
    monkeypatch.setenv("GITHUB_API_URL", "https://github.example")
    server.rows = [row(0)]
    assert names("created:2020-01-01", tmp_path)[0] == ["owner/r0"]
    (tmp_path / "state").unlink()
    server.rows = [row(0), row(1, "file:///etc")]
    with pytest.raises(UserError, match="names a repository at file:///etc, which is not https"):
        names("created:2020-01-01", tmp_path)


def test_a_search_that_is_killed_goes_on_where_it_was(server, tmp_path):
    server.rows, server.delay = [row(number) for number in range(2500)], 0.02
    command = [sys.executable, str(ROOT / "parse_data.py"), "--github_search", "language:kotlin"]
    command += ["--output", str(tmp_path / "o.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    deadline = time.monotonic() + 60
    while len(server.asked) < 15 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert TOKEN not in " ".join(process.args)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    state = tmp_path / ".o.jsonl.codefit" / "search"
    assert state.exists()
    assert TOKEN not in state.read_text()
    with state.open("a") as file:
        file.write('{"torn')
    asked, server.asked, server.delay = server.asked, [], 0
    places, counted = github_search.search("language:kotlin", state, print)
    assert [place.name for place in places] == [f"owner/r{number}" for number in range(2500)]
    assert counted == 2500
    assert len(server.asked) < 30  # a search that begins anew asks at least this often
    done = server.asked
    assert github_search.search("language:kotlin", state, print)[0] == places
    assert server.asked is done
    assert len(set(asked) & set(done)) <= 11  # at most the one slice that was being read
    assert github_search.search("language:java", state, print)[1] == 2500  # another search begins anew
