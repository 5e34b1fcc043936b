"""Requests to the Hub: timeouts, retries of temporary failures, and one sentence for permanent ones.

`huggingface_hub` 2.4 waits for ever, retries only some requests, and raises many unrelated exception types. This module
makes a few attempts, announces each, and then raises a UserError with the reason and what to do. Tokens are read and
sent only by `huggingface_hub` and appear in no message.
"""

import gc
import json
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeVar

from codefit import console, private_apis
from codefit.errors import UserError

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

Kind = Literal["model", "dataset"]
Result = TypeVar("Result")

TIMEOUT = 120.0  # seconds without a byte of an answer; the client has no limit
WAITS = (2.0, 8.0, 30.0)  # seconds between attempts
LONGEST_WAIT = 300  # seconds; the Hub counts its rate limits in windows of five minutes (docs/hub/rate-limits)
ODD = (AttributeError, TypeError, LookupError, AssertionError, RecursionError)  # raised for answers of the wrong type
PASSING = {408, 409, 412, 429, 500, 502, 503, 504}

REASONS = {
    401: "the Hub does not accept the token ({status}); run `hf auth login`, or set HF_TOKEN to a valid token",
    402: "the account has no storage left ({status}); free some, or choose another namespace",
    403: "the token may not write to {repo_id} ({status}); create a token with the role write at "
    "https://huggingface.co/settings/tokens, or choose your own namespace",
    404: "{repo_id} does not exist or the token may not see it ({status}); check the name and the token's rights",
    409: "another operation on {repo_id} is in progress ({status}); wait a minute",
    412: "{repo_id} was changed by somebody else in the meantime ({status}); wait until they are done",
    413: "a file is too large for the Hub ({status}); write it in smaller pieces",
    429: "too many requests ({status}); wait {seconds}",
}


class Refusal(Exception):
    """A reason of codefit not to push, worded like those in REASONS."""


# ---------------------------------------------------------------------------------------------- requests


def connect() -> "HfApi":
    """Return the client, with a timeout for every request. Raises Refusal without a token."""
    from huggingface_hub import HfApi, get_token, set_client_factory
    from huggingface_hub.utils import logging

    if get_token() is None:
        raise Refusal("there is no token; run `hf auth login`, or set HF_TOKEN")
    set_client_factory(_session)
    logging.set_verbosity_warning()  # it announces the requests that it repeats itself
    return HfApi()


def _session() -> "httpx2.Client":
    import httpx2

    session: httpx2.Client = private_apis.default_http_client()
    session.timeout = httpx2.Timeout(TIMEOUT)
    session.event_hooks = {**session.event_hooks, "response": [_end_busy_loop]}
    return session


def _end_busy_loop(response: "httpx2.Response") -> None:
    """Raise for a 409 other than "repository exists", which the client would retry at once, sometimes for ever."""
    if response.status_code == 409 and response.url.path == "/api/repos/create":
        response.read()
        if '"url"' not in response.text:
            response.raise_for_status()


def refuse_reader(api: "HfApi", repo_id: str) -> None:
    """Raise Refusal if the token can only read."""
    if api.whoami().get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise Refusal(REASONS[403].format(repo_id=repo_id, status="its role is read"))


def open_repository(api: "HfApi", repo_id: str, kind: Kind, private: bool | None) -> str | None:
    """Create the repository if needed and return its newest commit. Raises Refusal if its visibility is wrong."""
    api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
    info = api.repo_info(repo_id, repo_type=kind)
    if private is not None and bool(info.private) != private:
        found, asked = ("public", "private") if private else ("private", "public")
        raise Refusal(f"the repository is {found}, but {asked} was requested; change that in its settings on the Hub")
    return info.sha


def try_writing(api: "HfApi", repo_id: str, kind: Kind) -> None:
    """Check the right to write by asking the Hub how to upload a file; none is sent.

    Creating a repository that exists is no test: it succeeds even for a public repository of somebody else.
    """
    from huggingface_hub import CommitOperationAdd

    api.preupload_lfs_files(repo_id, [CommitOperationAdd("README.md", b"probe")], repo_type=kind)


def patiently(call: Callable[[], Result]) -> Result:
    """Return the result of a call; after a temporary failure, wait and call again, a few times."""
    for number, wait in enumerate(WAITS, 1):
        try:
            return call()
        except errors() as error:
            pause = max(wait, _asked_wait(error))
            if not _may_pass(error) or pause > LONGEST_WAIT:
                raise
            problem = _status(error) or type(error).__name__
        gc.collect()  # closes its progress bars
        note = f"the Hub: {problem}; trying again in {pause:g} s ({number} of {len(WAITS)})"
        console.show(note, file=sys.stderr, flush=True)
        time.sleep(pause)
    return call()


# ---------------------------------------------------------------------------------------------- what went wrong


def errors() -> tuple[type[Exception], ...]:
    """Return the exception types of the client, of its HTTP library, of xet and of the file system."""
    import httpx2

    return httpx2.HTTPError, OSError, RuntimeError, ValueError, *ODD


def explained(call: Callable[[], Result], repo_id: str, what: str, outcome: str) -> Result:
    """Return the result of a call, or raise its exception as a UserError: what happened, why, what to do."""
    try:
        return call()
    except Refusal as error:
        reason = str(error)
    except errors() as error:
        reason = _reason(error, repo_id)
    gc.collect()  # closes progress bars of the failed call, which would overwrite the error message
    raise UserError(f"{what}: {reason}; {outcome}")


def _response(error: BaseException | None) -> "httpx2.Response | None":
    """Return the response behind an error; for a file upload, the client hides it in the error's cause."""
    while error is not None:
        response: httpx2.Response | None = getattr(error, "response", None)
        if response is not None:
            return response
        error = error.__cause__
    return None


def _status(error: BaseException) -> int | None:
    response = _response(error)
    if response is not None:
        return response.status_code
    in_text = re.search(r"\b([45]\d\d) [A-Z]", str(error))  # xet's errors have the status only in their text
    return int(in_text[1]) if in_text and isinstance(error, ConnectionError) else None


def _of_storage(error: BaseException) -> bool:
    """Return whether an error comes from the storage of large files, not from the Hub itself."""
    of_xet = isinstance(error, ConnectionError) and "/xet-write-token/" not in str(error)
    return of_xet or (isinstance(error, RuntimeError) and not isinstance(error, RecursionError))


def _is_garbled(error: BaseException) -> bool:
    """Return whether a response was a web page instead of data, as from a proxy. Xet says so only in its text."""
    if isinstance(error, json.JSONDecodeError):
        return True
    signs = "error decoding response body|Invalid response|failed to fill whole buffer"
    return _response(error) is None and re.search(signs, str(error)) is not None


def _may_pass(error: BaseException) -> bool:
    import httpx2

    status = _status(error)
    if _of_storage(error):  # already sent several times, unless the permission to send it expired
        return status is not None and status < 500 and status != 413
    if isinstance(error, ConnectionError):  # an error of xet, which retries by itself, but not after a 409
        return status == 409
    return isinstance(error, json.JSONDecodeError | httpx2.TransportError) or status in PASSING


def _asked_wait(error: BaseException) -> int:
    """Return the seconds that the Hub asks to wait, 0 if it does not say."""
    response = _response(error)
    if response is None:
        return 0
    used_up = re.search(r"r=0;\s*t=([0-9]+)", response.headers.get("ratelimit", ""))  # "api";r=0;t=55
    asked = used_up[1] if used_up else response.headers.get("retry-after", "")
    return int(asked) if re.fullmatch("[0-9]{1,9}", asked) else 0


def _reason(error: BaseException, repo_id: str) -> str:
    """Return why a call failed and what to do, as part of a sentence."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set; unset it"
    if _is_garbled(error):
        at = constants.ENDPOINT if isinstance(error, json.JSONDecodeError) else "the Hub or its storage"
        return f"{at} answers with a web page instead of data; check HF_ENDPOINT and the proxy"
    if isinstance(error, ODD):
        said = _one_line(str(error)) or type(error).__name__
        return f"{constants.ENDPOINT} does not answer like the Hub ({said}); check HF_ENDPOINT and the proxy"
    if isinstance(error, ValueError) and not isinstance(error, httpx2.HTTPError):  # a fault of the card
        return f"{_one_line(str(error))}; correct it"
    if status:
        return _reason_of_status(error, status, repo_id)
    if isinstance(error, httpx2.TimeoutException):
        return f"{constants.ENDPOINT} did not answer for {TIMEOUT:g} s; check the network"
    if isinstance(error, httpx2.TransportError | ConnectionError | RuntimeError):
        asked = re.search(r"https?://[^/\s)]+", str(error))  # with xet, whose storage has another address
        return f"the connection to {asked[0] if asked else constants.ENDPOINT} failed; check the network"
    return _one_line(str(error))


def _reason_of_status(error: BaseException, status: int, repo_id: str) -> str:
    if _of_storage(error) and status < 500 and status not in {413, 429}:
        return f"the storage of the Hub does not accept the files ({status}); wait a minute"
    said = _one_line(getattr(error, "server_message", None) or "")
    said = "" if said.startswith("<") else said  # a web page
    default = "the Hub has a problem ({status}); see https://status.huggingface.co, and wait"
    template = REASONS.get(status, default if status >= 500 else "the Hub refuses the request ({status})")
    seconds = f"{_asked_wait(error)} s" if _asked_wait(error) else "a few minutes"
    return template.format(status=f"{status}, {said}" if said else status, repo_id=repo_id, seconds=seconds)


def _one_line(text: str) -> str:
    """Return a message of the Hub as part of a sentence: in one line, shortened, and without the token."""
    from huggingface_hub import get_token

    line = " ".join(text.split()).rstrip(".")
    return line.replace(get_token() or "\0", "***")[:300]
