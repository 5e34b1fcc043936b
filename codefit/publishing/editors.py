"""Editor settings for a GGUF file: Ollama, Continue, Tabby, and the command that starts llama.cpp's server.

All of them use the same row of `codefit.fim`, so that an editor sends prompts in the format of the training. A model
without fill-in-the-middle gets only the text before the cursor.
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from codefit import fim, json_files, model_files
from codefit.errors import UserError
from codefit.fim import FimFormat
from codefit.outputs import write_whole

PORT = 8012  # the default server address of llama.vscode and llama.vim


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """Return the content of a model's tokenizer.json. Raises UserError if there is none."""
    path = folder / model_files.TOKENIZER
    if not path.is_file():
        raise UserError(f"{folder} has no tokenizer.json; give a model or an adapter that has one.")
    content: dict[str, Any] = json_files.load(path, model_files.AGAIN)
    json_files.checked(content, model_files.TokenizerFile, str(path), model_files.AGAIN)
    return content


def infill_format(folder: Path) -> FimFormat | None:
    """Return the fill-in-the-middle format of the model in a folder, None if it has none."""
    content = read_tokenizer(folder)
    added = (token["content"] for token in content.get("added_tokens") or [])
    return fim.detect({*content.get("model", {}).get("vocab", {}), *added})


def special_tokens(folder: Path) -> dict[str, str]:
    """Return the texts of a model's BOS, EOS and pad tokens, "" for one that it does not have."""
    path = folder / model_files.TOKENIZER_CONFIG
    config = json_files.read(path, model_files.TokenizerConfig, model_files.AGAIN)
    tokens = {"bos": config.bos_token, "eos": config.eos_token, "pad": config.pad_token}
    return {role: token if isinstance(token, str) else token.content if token else "" for role, token in tokens.items()}


def template(infill: FimFormat | None, prefix: str, suffix: str) -> str:
    """Return the prompt for placeholders of prefix and suffix, with the model's sentinels in its order."""
    if infill is None:
        return prefix
    return "".join(text for _, text in infill.parts(prefix, suffix))


def server_command(model: list[str], infill: FimFormat | None, context: int) -> str:
    """Return the command that serves a model to an editor.

    Of a request to /infill, the server keeps a batch around the cursor, and as much of other files as leaves room for
    twice --predict. With its defaults (2048, and no limit) it would refuse files longer than the context window. By
    default it also divides the context between four parallel requests, which then exceed it: they have to queue.

    Args:
        model: the arguments that name the model: -m and a file, or -hf and a repository.
        infill: the fill-in-the-middle format of the model.
        context: the context window, in tokens.
    """
    words = ["llama-server", *model, "--port", str(PORT), "--ctx-size", str(context)]
    words += ["--batch-size", str(batch(context)), "--predict", str(longest(context)), "--cache-reuse", "256"]
    words += ["--parallel", "1"]
    if infill and infill.order == "SPM":
        words.append("--spm-infill")
    return shlex.join(words)


def batch(context: int) -> int:
    """Return how many tokens around the cursor are used, given the context window; 1024 is llama.cpp's preset."""
    return min(1024, context // 2)


def longest(context: int) -> int:
    """Return the length of the longest completion, in tokens."""
    return min(256, context // 8)


def write(folder: Path, file: str, name: str, infill: FimFormat | None, eos: str, context: int) -> None:
    """Write Modelfile, template, params, continue.yaml and tabby.toml next to a GGUF file.

    Args:
        folder: the folder of the file.
        file: the name of the file.
        name: the name of the model in the editor.
        infill: the fill-in-the-middle format, None if the model has none.
        eos: the text of its end-of-sequence token.
        context: the context window, in tokens.
    """
    stops = [text for text in (eos, *(infill.sentinels if infill else ())) if text]
    ollama = template(None, "{{ .Prompt }}", "")
    if infill:
        both = template(infill, "{{ .Prompt }}", "{{ .Suffix }}")
        ollama = "{{- if .Suffix }}" + both + "{{ else }}" + ollama + "{{ end }}"
    parameters = {"num_ctx": context, "stop": stops, "temperature": 0}
    contents = {
        "Modelfile": modelfile(file, ollama, context, stops),
        "template": ollama,  # Ollama reads these two next to a GGUF file on the Hub
        "params": json.dumps(parameters, indent=2) + "\n",
        "continue.yaml": continue_yaml(name, infill, stops, context),
        "tabby.toml": tabby_toml(name, infill),
    }
    for each, text in contents.items():
        write_whole(folder / each, text)


def modelfile(file: str, ollama: str, context: int, stops: list[str]) -> str:
    """Return a Modelfile for `ollama create` (docs.ollama.com/modelfile)."""
    lines = [f"FROM ./{file}", f'TEMPLATE """{ollama}"""', f"PARAMETER num_ctx {context}", "PARAMETER temperature 0"]
    return "\n".join([*lines, *(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops)]) + "\n"


def continue_yaml(name: str, infill: FimFormat | None, stops: list[str], context: int) -> str:
    """Return a config.yaml of Continue (docs.continue.dev/reference), which guesses a template if none is given."""
    model = {
        "name": name,
        "provider": "llama.cpp",
        "model": name,
        "apiBase": f"http://localhost:{PORT}",
        "roles": ["autocomplete"],
        "promptTemplates": {"autocomplete": template(infill, "{{{prefix}}}", "{{{suffix}}}")},
        "defaultCompletionOptions": {"contextLength": context, "temperature": 0, "stop": stops},
    }
    content = {"name": name, "version": "1.0.0", "schema": "v1", "models": [model]}
    text: str = yaml.safe_dump(content, sort_keys=False, width=sys.maxsize)
    return text


def tabby_toml(name: str, infill: FimFormat | None) -> str:
    """Return a section of Tabby's config.toml (tabby.tabbyml.com/docs/references/models-http-api/llama.cpp)."""
    lines = [
        "[model.completion.http]",
        'kind = "llama.cpp/completion"',
        f"model_name = {_toml(name)}",
        f'api_endpoint = "http://localhost:{PORT}"',
        f"prompt_template = {_toml(template(infill, '{prefix}', '{suffix}'))}",
    ]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """Return a text as a string of TOML, which is one of JSON but for the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
