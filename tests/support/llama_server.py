"""llama.cpp's own HTTP server with one model, on the loopback interface, as an editor finds it.

It is the server of llama-server, compiled into the package xllamacpp. It computes as Transformers does: keys and values
in float32, and no flash attention, which rounds on the way. It has a process of its own, which can be killed: in a
process that goes on, ending it can wait for ever.
"""

import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp

from codefit.manifest import ROOT
from codefit.publishing import editors


def serve(file: str, context: int) -> None:
    """Serve a GGUF file, say where, and end when nobody holds the other end of standard input any more."""
    words = shlex.split(editors.server_command(["-m", file], None, context))[1:]
    printed = dict(zip(words[::2], words[1::2], strict=True))  # what the export tells the user to write
    settings = xllamacpp.CommonParams()
    settings.model.path = printed["-m"]
    settings.n_ctx, settings.n_batch = int(printed["--ctx-size"]), int(printed["--batch-size"])
    settings.n_predict, settings.n_parallel = int(printed["--predict"]), int(printed["--parallel"])
    settings.n_cache_reuse = int(printed["--cache-reuse"])
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.warmup, settings.verbosity = False, -1
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


class LlamaServer:
    """A GGUF file, served until the object is deleted."""

    def __init__(self, file: Path, context: int = 256) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(file), str(context)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = next((line.strip() for line in self.process.stdout if line.startswith("http")), "")
        assert self.address, f"llama.cpp does not serve {file}"

    def __del__(self) -> None:
        self.process.kill()
        self.process.communicate()

    def post(self, path: str, **body: Any) -> Any:
        """Return the answer to a request, or the error that the server gives: {"error": {"code": 501, ...}}."""
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def tokens(self, text: str, *, bos: bool = False) -> list[int]:
        """Return the ids of a text; sentinels in it are text."""
        answer = self.post("/tokenize", content=text, add_special=bos, parse_special=False)
        return [int(token) for token in answer["tokens"]]

    def greedy(self, prompt: list[int], new_tokens: int) -> list[int]:
        """Return the likeliest tokens after a prompt, end-of-sequence included."""
        asked = {"n_predict": new_tokens, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        return [int(token) for token in self.post("/completion", prompt=prompt, **asked)["tokens"]]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
