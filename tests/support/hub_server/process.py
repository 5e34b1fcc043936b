"""A process that calls codefit.hub the way a script does: with its own environment, output and exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.hub_server.server import HubServer
from tests.support.hub_server.store import READ_TOKEN, WRITE_TOKEN

ROOT = Path(__file__).resolve().parents[3]
Call = tuple[str, dict[str, Any]]

SCRIPT = """
import json, os, sys, time
from pathlib import Path
sleep = time.sleep
time.sleep = lambda seconds: sleep(min(seconds, 0.02))
from codefit import cli
from codefit.publishing import hub_client, push
hub_client.TIMEOUT = float(os.environ.get("SHORT_TIMEOUT", hub_client.TIMEOUT))
def main():
    for name, arguments in json.loads(sys.argv[1]):
        paths = {key: Path(value) for key, value in arguments.items() if key in ("folder", "adapter")}
        print(getattr(push, name)(**arguments | paths))
cli.run(main)
"""


# The same in one process for many calls: a line of JSON comes for each, and goes back for each. A failed one is logged
# with its traceback, as a careless program would. The client's upload looks after its queue every half a second.
LOOP = """
import json, logging, os, queue, sys, time
from pathlib import Path
sleep, get = time.sleep, queue.Queue.get
time.sleep = lambda seconds: sleep(0.001)
queue.Queue.get = lambda self, block=True, timeout=None: get(self, block, timeout and 0.005)
from codefit.publishing import push
from codefit.errors import UserError
for line in sys.stdin:
    name, arguments = json.loads(line)
    arguments |= {key: Path(value) for key, value in arguments.items() if key == "folder"}
    try:
        said = {"url": getattr(push, name)(**arguments)}
    except UserError as error:
        logging.exception("failed")
        said = {"error": str(error)}
    print(json.dumps(said), flush=True)
"""


class Client:
    """A process that makes one call after the other, so that a table of many is quick."""

    def __init__(self, server: HubServer, tmp_path: Path, **changes: str) -> None:
        self.log = (tmp_path / "client.log").open("w+")
        self.errors = 0  # that calls ended with
        env = environment(server, tmp_path, **changes)
        command = [sys.executable, "-c", LOOP]
        self.process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )

    def ask(self, call: Call) -> str:
        """Return the error of a call, "" if it succeeded."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(call), file=self.process.stdin, flush=True)
        error = str(json.loads(self.process.stdout.readline()).get("error", ""))
        self.errors += bool(error)
        return error

    def close(self) -> str:
        """End the process and return all that it logged."""
        self.process.communicate()
        assert self.process.returncode == 0
        self.log.seek(0)
        with self.log:
            return self.log.read()


def environment(server: HubServer, tmp_path: Path, **changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    ours = {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HOME": str(tmp_path / "hf_home")}
    xet = {"HF_HUB_DISABLE_XET": "1", "HF_XET_XORB_COMPRESSION_POLICY": "none", "HF_XET_CLIENT_RETRY_BASE_DELAY": "1ms"}
    return {**kept, **ours, **xet, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT), **changes}


def run(server: HubServer, tmp_path: Path, *calls: Call, **changes: str) -> subprocess.CompletedProcess[str]:
    """Call functions of publishing/push.py in a process of their own; no output ever holds a token or a traceback."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(calls)]
    done = subprocess.run(command, env=environment(server, tmp_path, **changes), capture_output=True, text=True)
    for token in (WRITE_TOKEN, READ_TOKEN):
        assert token not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line in which a failed run says what happened."""
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]
