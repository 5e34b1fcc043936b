"""What the Hub checks in the metadata of a README.md (its /api/validate-yaml), as far as its documentation states it.

Sources: huggingface.co/docs/hub/model-cards, datasets-cards, repositories-licenses; hub-docs/modelcard.md.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
RELATIONS = {"adapter", "finetune", "merge", "quantized"}
TASKS = {"text-generation", "text2text-generation", "fill-mask", "feature-extraction"}
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B"}
LICENSES = """
    apache-2.0 mit openrail bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear cc cc0-1.0 cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 wtfpl ecl-2.0 epl-1.0
    epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0
    odbl odc-by osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib llama2 llama3 gemma unknown other
"""


def problems(text: str, kind: str) -> list[str]:
    """Return what is wrong with the metadata of a card; [] when nothing is."""
    try:
        data = metadata(text)
    except yaml.YAMLError as error:
        return [f"not YAML: {error}"]
    return [*_shared(data), *(_dataset(data) if kind == "dataset" else _model(data))]


def metadata(text: str) -> dict[str, Any]:
    """Return the metadata in front of a card, {} where there is none."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    data = yaml.safe_load(match[1]) if match else {}
    return data if isinstance(data, dict) else {}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _shared(data: dict[str, Any]) -> Iterator[str]:
    for name in _as_list(data.get("license")):
        if name not in LICENSES.split():
            yield f'"license" must be one of the known licences, not {name!r}'
    for tag in _as_list(data.get("tags")):
        if not isinstance(tag, str):
            yield f'"tags" must be texts, not {tag!r}'
    for language in _as_list(data.get("language")):
        if not re.fullmatch(r"[a-z]{2,3}|code|multilingual", str(language)):
            yield f'"language" must be an ISO 639 code or "code", not {language!r}'


def _model(data: dict[str, Any]) -> Iterator[str]:
    for field in ("base_model", "datasets"):
        for name in _as_list(data.get(field)):
            if not REPO_ID.fullmatch(str(name)):
                yield f'"{field}" with value {name!r} is not valid; use an id of the Hub'
    if data.get("base_model_relation", "adapter") not in RELATIONS:
        yield f'"base_model_relation" must be one of {sorted(RELATIONS)}'
    if data.get("pipeline_tag", "text-generation") not in TASKS:
        yield f'"pipeline_tag" must be a known task, not {data["pipeline_tag"]!r}'
    for model in data.get("model-index", []):
        yield from _model_index(model)


def _model_index(model: dict[str, Any]) -> Iterator[str]:
    if not model.get("name"):
        yield '"model-index[0].name" is required'
    for result in model.get("results", []):
        for field in ("task.type", "dataset.type", "dataset.name"):
            outer, inner = field.split(".")
            if not isinstance(result.get(outer, {}).get(inner), str):
                yield f'"model-index[0].results[0].{field}" is required'
        for metric in result.get("metrics", [{}]):
            if not metric.get("type") or not isinstance(metric.get("value"), int | float | str):
                yield '"model-index[0].results[0].metrics" needs a type and a value'


def _dataset(data: dict[str, Any]) -> Iterator[str]:
    for size in _as_list(data.get("size_categories")):
        if size not in SIZES:
            yield f'"size_categories" must be one of {sorted(SIZES)}'
    for task in _as_list(data.get("task_categories")):
        if task not in TASKS:
            yield f'"task_categories" must be known tasks, not {task!r}'
    for config in data.get("configs", []):
        if not config.get("config_name") or not all({"split", "path"} <= set(f) for f in config["data_files"]):
            yield '"configs" need a config_name and data_files with split and path'
