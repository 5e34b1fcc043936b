"""Check a GGUF file in llama.cpp, if xllamacpp is installed: tokens and completions must equal the model's.

The llama-server in that package runs on the loopback interface, as for an editor. It computes like Transformers: the KV
cache in float32, and no flash attention, which rounds intermediate results. It runs in a separate process that can be
killed, because stopping it inside a running process can hang.
"""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.publishing import editors

CONTEXT, NEW_TOKENS = 256, 8
PROMPTS = (
    *("def read_lines(path):\n    ", "import os\nimport ", "class Stack:\n    def push(self, item):\n        "),
    *("for (int i = 0; i < ", "public static void main(", "fun main() {\n    val ", "# Copyright "),
)
TEXTS = (
    *(*PROMPTS, "if x == 0:\n\treturn", "  two  spaces\t\ttabs\r\n\n\n", "it's don't WE'LL", "x1234567890.5e-3"),
    *("\u00e9\u00fc\u00df \u00bfqu\u00e9?", "<s></s> [x] !="),
)
# How far the logit of llama.cpp's token may be below that of the model's choice, in standard deviations of the logits:
# the effect of rounding to these types. A token of another model is about four below.
MAY_BE_LESS = {"f32": 0.05, "f16": 0.05, "q8_0": 0.2}


def is_installed() -> bool:
    """Return whether GGUF files can be checked."""
    return importlib.util.find_spec("xllamacpp") is not None


def refuse_another_model(file: Path, kind: str, folder: Path) -> None:
    """Raise UserError if llama.cpp does not load a file, or tokenises or continues text differently from the model.

    Args:
        file: the GGUF file.
        kind: storage type of its matrices.
        folder: the folder of the model that was converted.
    """
    from codefit.modeling import loading, merging

    server = LlamaServer(file, CONTEXT)
    encoder = Encoder(loading.load_tokenizer(str(folder)), CONTEXT)
    for text, ids in zip(TEXTS, encoder.first_ids(TEXTS), strict=True):
        if server.tokens(text) != ids:
            raise UserError(
                f"llama.cpp tokenises text differently from the tokenizer of {folder} (for example {text!a}), so "
                "no GGUF file was kept; omit --gguf and serve the merged model with vLLM."
            )
    prompts = [encoder.prompt_ids(prompt) for prompt in PROMPTS]
    written = [server.greedy(prompt, NEW_TOKENS) for prompt in prompts]
    least = merging.least_likely_choice(str(folder), prompts, written)
    if not least <= MAY_BE_LESS[kind]:
        raise UserError(
            f"llama.cpp continues prompts with the GGUF file differently from {folder} (a token whose logit is "
            f"{least:.2f} standard deviations below that of the model's choice, {MAY_BE_LESS[kind]} allowed), so "
            "it was not kept; omit --gguf and serve the merged model with vLLM."
        )


class LlamaServer:
    """A server of a GGUF file that runs until the object is deleted."""

    def __init__(self, file: Path, context: int = CONTEXT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "codefit.publishing.llama_cpp", str(file), str(context)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = next((line.strip() for line in self.process.stdout if line.startswith("http")), "")
        if not self.address:
            raise UserError(f"llama.cpp does not load {file.name}, so it was not kept; omit --gguf.")

    def __del__(self) -> None:
        self.process.kill()
        self.process.communicate()

    def post(self, path: str, **body: Any) -> Any:
        """Return the response to a request, or the server's error: {"error": {"code": 501, ...}}."""
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def tokens(self, text: str, *, bos: bool = False) -> list[int]:
        """Return the token ids of a text; sentinels in it are plain text."""
        answer = self.post("/tokenize", content=text, add_special=bos, parse_special=False)
        return [int(token) for token in answer["tokens"]]

    def greedy(self, prompt: list[int], new_tokens: int) -> list[int]:
        """Return the greedy completion of a prompt as token ids, including end-of-sequence."""
        asked = {"n_predict": new_tokens, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        return [int(token) for token in self.post("/completion", prompt=prompt, **asked)["tokens"]]


def serve(file: str, context: int) -> None:
    """Serve a GGUF file, print the address, and exit when standard input is closed."""
    import xllamacpp

    words = shlex.split(editors.server_command(["-m", file], None, context))[1:]
    printed = dict(zip(words[::2], words[1::2], strict=True))  # as in the command that the export prints
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
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
