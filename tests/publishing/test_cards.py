"""Cards: true, complete, and accepted by the client's own parser and by the Hub's rules."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from huggingface_hub import DatasetCard, ModelCard
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import complete
from codefit.errors import UserError
from codefit.evaluation import result_schema
from codefit.evaluation.result_schema import Difference, MetricRow, Score
from codefit.publishing import cards, provenance
from tests.support.hub_server import HubServer, card_rules
from tests.support.hub_server.process import environment
from tests.support.report import measured
from tests.support.tokenizer_styles import legacy, sentencepiece

VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}
SCORES = [
    cards.BenchmarkRow(
        "heldout",
        MetricRow(
            metric="edit_similarity",
            label="Edit similarity",
            unit="%",
            higher_is_better=True,
            n=500,
            signature="edit_similarity|n:500",
            scores={"base": Score(41.234, 40.1, 42.3), "adapted": Score(55.678, 54.5, 56.8)},
            against_base={"adapted": Difference(14.444, 13.1, 15.7, 0.001, 2.0, "better")},
        ),
    ),
    cards.BenchmarkRow(
        "codexglue",
        MetricRow(
            metric="exact_match",
            label="Exact match",
            unit="%",
            higher_is_better=True,
            n=500,
            signature="exact_match|n:500",
            scores={"base": Score(0.1, 0.0, 0.3), "adapted": Score(0.12, 0.0, 0.4)},
            against_base={"adapted": Difference(0.02, -0.2, 0.2, 0.9, 0.3, "not resolved", 1.0)},
        ),
    ),
]


def write_manifest(path: Path, script: str, **facts: Any) -> None:
    content = {"command": [script, "--seed", "3 4"], "arguments": {}, "toolkit_commit": "c0ffee", "versions": VERSIONS}
    path.write_text(json.dumps({**content, "inputs": {}, "seconds": 200.0, **facts}))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A prepared data set and the documents that it was made of, with what both stages recorded."""
    made = tmp_path / "prepared"
    made.mkdir()
    documents = tmp_path / "kotlin.jsonl"
    for split, rows in {"train": 1200, "validation": 30, "test": 20}.items():
        (made / f"{split}.jsonl").write_text("{}\n" * rows)
    rules = ["too short", "binary", "too short"]
    (made / "rejected.jsonl").write_text("".join(json.dumps({"rule": rule, "path": "a|b.kt"}) + "\n" for rule in rules))
    source = {"name": "JetBrains/kotlin", "kind": "git", "commit": "0123456789abcdef", "documents": 77}
    unknown = {"name": "folder", "kind": "directory", "commit": "", "documents": 5, "license": ""}
    write_manifest(
        tmp_path / "kotlin.jsonl.manifest.json",
        "parse_data.py",
        command=["parse_data.py", "--repository", "https://me:pass-word@example.org/x.git"],
        arguments={"language": ["kotlin"]},
        sources=[{**source, "license": "Apache-2.0"}, unknown],
        rejections={"LFS pointer": 4},
    )
    write_manifest(
        made / "manifest.json",
        "preprocess_data.py",
        arguments={"language": None},
        inputs={str(documents): "sha", str(tmp_path / "elsewhere.jsonl"): "sha"},
        splits={"train": {"skipped": {"only brackets": 9}}, "test": {"skipped": {"only brackets": 1}}},
    )
    return made


@pytest.fixture
def adapter(tmp_path: Path, dataset: Path) -> Path:
    made = tmp_path / "adapter"
    made.mkdir()
    config = {"base_model_name_or_path": "microsoft/phi-1_5", "revision": "abc123"}
    (made / "adapter_config.json").write_text(json.dumps(config))
    write_manifest(made / "manifest.json", "train.py", base_model="microsoft/phi-1_5", dataset=str(dataset))
    return made


def sections(card: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# ---------------------------------------------------------------------------------------------- data set


def test_the_card_of_a_data_set(dataset: Path) -> None:
    text = cards.dataset_card(dataset, "me/kotlin-pairs")
    data = DatasetCard(text).data.to_dict()
    assert card_rules.problems(text, "dataset") == []
    assert data["license"] == ["apache-2.0"]
    assert data["size_categories"] == ["1K<n<10K"]
    assert data["tags"] == ["code", "code-completion", "codefit", "kotlin"]
    assert [file["path"] for file in data["configs"][0]["data_files"]] == [
        "train.jsonl",
        "validation.jsonl",
        "test.jsonl",
    ]

    found = sections(text)
    assert list(found) == ["Use it", "What it holds", "How it was made"]
    for row in (
        "| train | 1200 |",
        "| JetBrains/kotlin | git | 0123456789ab | Apache-2.0 | 77 |",
        "| folder | directory |  | unknown | 5 |",
        "| files, parse_data.py | LFS pointer | 4 |",
        "| files, preprocess_data.py | too short | 2 |",
        "| pairs | only brackets | 10 |",
    ):
        assert row in found["What it holds"]
    assert "python parse_data.py --repository https://***@example.org/x.git" in found["How it was made"]
    assert "pass-word" not in text
    assert "python preprocess_data.py --seed '3 4'" in found["How it was made"]
    assert "With codefit c0ffee, python 3.11.7, torch 2.13.0." in found["How it was made"]


def test_a_data_set_without_manifests_still_has_a_card(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}\n")
    text = cards.dataset_card(tmp_path, "me/pairs")
    assert card_rules.problems(text, "dataset") == []
    assert "license" not in DatasetCard(text).data.to_dict()
    assert list(sections(text)) == ["Use it", "What it holds"]


# ---------------------------------------------------------------------------------------------- models


def test_the_card_of_an_adapter(adapter: Path) -> None:
    text = cards.adapter_card(adapter, "me/kotlin-phi", SCORES, licence="mit")
    assert card_rules.problems(text, "model") == []
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation) == ("microsoft/phi-1_5", "adapter")
    assert (data.library_name, data.pipeline_tag, data.license) == ("peft", "text-generation", "mit")
    assert data.language == ["code"]
    assert data.tags == ["code", "code-completion", "codefit", "kotlin", "lora"]
    assert data.model_name == "kotlin-phi"
    assert [(r.metric_type, r.metric_value, r.dataset_name) for r in data.eval_results or []] == [
        ("edit_similarity", 55.678, "heldout"),
        ("exact_match", 0.12, "codexglue"),
    ]

    found = sections(text)
    assert list(found) == ["What it changed", "Use it", "Prompt format", "Trained on", "How it was made"]
    row = "| Edit similarity | heldout | 41.23 [40.1, 42.3] | 55.68 [54.5, 56.8] | 14.44 [13.1, 15.7] | better |"
    assert row in found["What it changed"]
    assert (
        "| Exact match | codexglue | 0.1 [0, 0.3] | 0.12 [0, 0.4] | 0.02 [-0.2, 0.2] | not resolved |"
        in found["What it changed"]
    )
    assert "`edit_similarity|n:500`" in found["What it changed"]
    assert 'from_pretrained("microsoft/phi-1_5", revision="abc123", dtype="auto")' in found["Use it"]
    assert "no chat template" in found["Prompt format"]
    assert "| train | 1200 |" in found["Trained on"]
    assert "python train.py" in found["How it was made"]


def test_the_card_of_a_merged_model(adapter: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    write_manifest(merged / "manifest.json", "merge_lora.py")
    fim = "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>"
    vocabulary = {"<fim_prefix>": 0, "<fim_suffix>": 1, "<fim_middle>": 2}
    (merged / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    text = cards.merged_card(merged, "me/kotlin-phi", SCORES, "mit", adapter)
    assert card_rules.problems(text, "model") == []
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation) == ("microsoft/phi-1_5", "finetune")
    assert data.library_name == "transformers"

    found = sections(text)
    assert fim in found["Prompt format"]
    assert "peft" not in found["Use it"]
    assert found["How it was made"].index("train.py") < found["How it was made"].index("merge_lora.py")
    assert 'PeftModel.from_pretrained(base, "me/kotlin-phi", subfolder="adapter")' in text


def test_full_fine_tuning_is_not_described_as_lora(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", "train.py", base_model="acme/base", dataset="me/python-documents")
    text = cards.merged_card(tmp_path, "me/small")
    data = ModelCard(text).data.to_dict()
    assert card_rules.problems(text, "model") == []
    assert (data["base_model"], data["base_model_relation"]) == ("acme/base", "finetune")
    assert "lora" not in data["tags"]


def test_a_model_from_scratch_has_no_base(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", "train.py", base_model=None, dataset="me/python-documents")
    text = cards.merged_card(tmp_path, "me/small")
    data = ModelCard(text).data.to_dict()
    assert card_rules.problems(text, "model") == []
    assert not {"base_model", "base_model_relation", "license", "model-index"} & set(data)
    assert data["datasets"] == ["me/python-documents"]
    assert "lora" not in data["tags"]
    assert "trained from scratch" in text
    assert "What it changed" not in sections(text)


def test_a_data_set_that_was_pushed_is_linked(adapter: Path, dataset: Path) -> None:
    arguments = {"hf_repository": "me/kotlin-pairs"}
    write_manifest(dataset / "manifest.json", "preprocess_data.py", arguments=arguments)
    text = cards.adapter_card(adapter, "me/kotlin-phi")
    assert ModelCard(text).data.datasets == ["me/kotlin-pairs"]
    assert card_rules.problems(text, "model") == []


def test_a_model_trained_on_nothing_known(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (adapter / "manifest.json").unlink()
    monkeypatch.chdir(tmp_path / "prepared")  # its files are not those of the model
    text = cards.adapter_card(adapter, "me/kotlin-phi")
    assert list(sections(text)) == ["Use it", "Prompt format"]
    assert "kotlin" not in (ModelCard(text).data.tags or [])


@pytest.mark.parametrize("base", ["/home/me/base", "./base", "data/base", "outputs/merged", "existing", "a/b/c"])
def test_a_local_base_is_never_named_in_the_metadata(
    base: str, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "existing").mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "revision": "abc"}))
    text = cards.adapter_card(adapter, "me/kotlin-phi")
    assert card_rules.problems(text, "model") == []
    assert not {"base_model", "base_model_relation"} & set(ModelCard(text).data.to_dict())
    assert f"a local base model (`{Path(base).name}`)" in text
    assert 'from_pretrained("path/to/the/base", dtype="auto")' in text


@pytest.mark.parametrize(
    ("spdx", "identifier"),
    [
        ("MIT", "mit"),
        ("Apache-2.0", "apache-2.0"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("LGPL-2.1-only", "lgpl-2.1"),
        ("GPL-2.0+", "gpl-2.0"),
        ("PSF-2.0", "other"),
    ],
)
def test_licences_have_the_names_of_the_hub(spdx: str, identifier: str) -> None:
    assert provenance.hub_licence(spdx) == identifier


def test_every_licence_we_name_is_known_to_the_hub() -> None:
    assert set(provenance.HUB_LICENCES.split()) <= set(card_rules.LICENSES.split())


def test_a_broken_manifest_is_an_error(adapter: Path) -> None:
    (adapter / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest.json is not valid JSON .*; run the stage"):
        cards.adapter_card(adapter, "me/kotlin-phi")


@pytest.mark.parametrize(
    ("kind", "metadata"),
    [
        ("model", "base_model: /home/me/base"),
        ("model", "base_model_relation: parent"),
        ("model", "license: MIT"),
        ("model", "datasets: [a/b/c]"),
        ("model", "language: kotlin"),
        ("model", "pipeline_tag: code-completion"),
        ("model", "model-index: [{name: x, results: [{task: {type: text-generation}, metrics: [{type: bleu}]}]}]"),
        ("model", "tags: [1]"),
        ("model", "a: [b"),
        ("dataset", "size_categories: [many]"),
        ("dataset", "task_categories: [completion]"),
        ("dataset", "configs: [{config_name: x, data_files: [{path: y}]}]"),
    ],
)
def test_the_rules_of_the_loopback_hub_find_what_is_wrong(kind: str, metadata: str) -> None:
    assert card_rules.problems(f"---\n{metadata}\n---\n", kind)


def test_the_card_of_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "kotlin-phi-Q8_0.gguf").write_bytes(b"x" * 3_000_000)
    write_manifest(tmp_path / "manifest.json", "merge_lora.py", infill="starcoder", context=2048)
    text = cards.gguf_card(tmp_path, "me/kotlin-phi-GGUF", "me/kotlin-phi", "mit")
    assert card_rules.problems(text, "model") == []
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation, data.library_name) == ("me/kotlin-phi", "quantized", "gguf")
    assert data.license == "mit"
    found = sections(text)
    assert "| kotlin-phi-Q8_0.gguf | 3 MB |" in found["Files"]
    assert "llama-server -hf me/kotlin-phi-GGUF:Q8_0 --port 8012 --ctx-size 2048" in found["Use it"]
    assert "ollama run hf.co/me/kotlin-phi-GGUF:Q8_0" in found["Use it"]
    assert "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>" in found["Prompt format"]


# ---------------------------------------------------------------------------------------------- scores


def write_scores(folder: Path, name: str) -> Path:
    """Write the scores of a model, one of which is no number."""
    folder.mkdir(exist_ok=True)
    nothing = Score(math.nan, math.nan, math.nan)
    bad = msgspec.structs.replace(SCORES[1].row, scores={"base": nothing, "adapted": nothing})
    result_schema.write(measured(name, [SCORES[0].row, bad]), folder / "scores.json")
    return folder


def test_scores_of_the_model_go_into_its_card(adapter: Path, tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "benchmark", str(adapter))
    rows = cards.read_scores(folder, {str(adapter), "me/kotlin-phi"})
    assert [(found.row.metric, found.benchmark) for found in rows] == [("edit_similarity", "heldout")]
    text = cards.adapter_card(adapter, "me/kotlin-phi", rows)
    assert card_rules.problems(text, "model") == []
    results = ModelCard(text).data.eval_results or []
    assert [(r.metric_type, r.metric_value, r.dataset_name) for r in results] == [
        ("edit_similarity", 55.678, "heldout")
    ]


def test_scores_of_another_model_are_refused(adapter: Path, tmp_path: Path) -> None:
    folder = write_scores(tmp_path / "benchmark", "somebody/else")
    with pytest.raises(
        UserError, match="has the scores of somebody/else, not of this model; give the benchmark folder"
    ):
        cards.read_scores(folder, {str(adapter)})
    with pytest.raises(UserError, match=r"holds no scores.json; name the --output_dir of benchmarking.py"):
        cards.read_scores(tmp_path, {str(adapter)})


# ---------------------------------------------------------------------------------------------- the code in the cards

MAKE_AND_PUSH = """
import sys
from pathlib import Path
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from codefit.publishing import push

folder = Path(sys.argv[1])
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
bpe.train_from_iterator(["def f"], trainers.BpeTrainer(special_tokens=["<|end|>"], initial_alphabet=alphabet))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>")
torch.manual_seed(0)
sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
base = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes))
for name in ("base", "adapter", "merged"):
    tokenizer.save_pretrained(folder / name)
base.save_pretrained(folder / "base")
base.name_or_path = "acme/base"
adapted = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
adapted.peft_config["default"].base_model_name_or_path = "acme/base"
adapted.save_pretrained(folder / "adapter")
adapted.merge_and_unload().save_pretrained(folder / "merged")
push.push_merged(folder / "base", "acme/base")
push.push_adapter(folder / "adapter", "tester/adapter")
push.push_merged(folder / "merged", "tester/merged", adapter=folder / "adapter")

for repo_id in ("tester/adapter", "tester/merged"):
    from huggingface_hub import ModelCard
    code = ModelCard.load(repo_id).text.split("```python\\n")[1].split("```")[0]
    exec(code)
assert type(model).__name__ == "LlamaForCausalLM", "the merged repository must not load an adapter"
assert PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("acme/base"), "tester/merged", subfolder="adapter")
print("both ran")
"""


def test_the_code_of_a_card_prints_what_complete_prints(tmp_path, capsys, same_arithmetic):
    """With a tokenizer that takes the space at the beginning of a decoded text for its own."""
    made, sizes = sentencepiece(legacy()), {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(tmp_path)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=900, num_hidden_layers=1, **sizes))
    prompt = tokenizer("def is_even(number):\n    return").input_ids
    spaced = made.token_to_id("\u2581a")
    with torch.no_grad():  # the last token of the prompt is followed by one with a space in front
        model.lm_head.weight[spaced] = (
            99 * model(torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0, -1]
        )
    model.save_pretrained(tmp_path)
    card = cards.merged_card(tmp_path, str(tmp_path))
    exec(card.split("```python\n")[1].split("```")[0], {})
    printed = capsys.readouterr().out
    complete.main(["--hf_repository", str(tmp_path), "--prompt", "def is_even(number):\n    return"])
    assert printed == capsys.readouterr().out
    assert printed.startswith(" a")


def test_the_code_in_the_cards_runs(tmp_path: Path) -> None:
    with HubServer() as server:
        command = [sys.executable, "-c", MAKE_AND_PUSH, str(tmp_path)]
        done = subprocess.run(command, env=environment(server, tmp_path), capture_output=True, text=True)
        assert done.stdout.endswith("both ran\n"), done.stderr
        assert server.api.unknown == []
