"""From an adapter on the Hub to a merged model, GGUF files and their cards there, and back to the same completions.

The scripts and the downloads run in processes of their own, against a Hub on the loopback interface.
"""

import json
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model

from codefit.evaluation import result_schema
from codefit.manifest import versions
from codefit.modeling import loading
from tests.support.hub_server import WRITE_TOKEN, Fault, card_rules
from tests.support.hub_server.process import ROOT, environment
from tests.support.report import measured

REPO = "tester/kotlin-phi"
COMPLETE = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
repository, base = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(repository)
inputs = tokenizer("def train(model):", return_tensors="pt")
merged = AutoModelForCausalLM.from_pretrained(repository, dtype="float32")
adapted = PeftModel.from_pretrained(
    AutoModelForCausalLM.from_pretrained(base, dtype="float32"), repository, subfolder="adapter"
)
assert merged.generation_config.eos_token_id == tokenizer.eos_token_id
assert merged.generation_config.pad_token_id == tokenizer.pad_token_id
with torch.no_grad():
    of_merged, of_adapter = (model(**inputs).logits[0].log_softmax(-1) for model in (merged, adapted))
    with adapted.disable_adapter():
        of_base = adapted(**inputs).logits[0].log_softmax(-1)
for other in (of_merged, of_base):
    print(float((of_adapter.exp() * (of_adapter - other)).sum(-1).mean()))
"""


@pytest.fixture
def adapter(tmp_path, tiny_base, tiny_tokenizer):
    """An adapter with an effect, as train.py leaves it."""
    torch.manual_seed(1)
    adapted = get_peft_model(
        loading.load_model(str(tiny_base), dtype=torch.float32),
        LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)  # so little that the merge is saved in float32, without rounding
    adapted.peft_config["default"].base_model_name_or_path = str(tiny_base)
    folder = tmp_path / "run" / "adapter"
    adapted.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    facts = {"command": ["train.py"], "versions": versions(), "arguments": {"hf_repository": REPO}}
    (folder / "manifest.json").write_text(json.dumps({**facts, "max_prompt_tokens": 64, "dtype": "torch.float32"}))
    return folder


def merge(server, tmp_path, *words, **changes):
    command = [sys.executable, str(ROOT / "merge_lora.py"), *map(str, words)]
    env = environment(server, tmp_path, OMP_NUM_THREADS="1", **changes)
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)


def write_scores(tmp_path, adapter):
    """Write the scores that benchmarking.py leaves."""
    (tmp_path / "benchmark").mkdir()
    scores = measured(str(adapter))
    result_schema.write(scores, tmp_path / "benchmark" / "scores.json")
    return tmp_path / "benchmark"


def test_an_adapter_becomes_a_model_on_the_hub_that_predicts_the_same(server, adapter, tiny_base, tmp_path):
    words = ["--hf_repository", adapter, "--push", "--private", "--gguf", "--scores", write_scores(tmp_path, adapter)]
    done = merge(server, tmp_path, *words, "--max_shard_size", "1MB")
    assert done.returncode == 0, done.stderr
    files = server.files("model", REPO)
    needed = {"tokenizer.json", "generation_config.json", "config.json", "README.md", "manifest.json"}
    assert set(files) >= needed | {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert server.repository("model", REPO).private

    card = files["README.md"].decode()
    assert card_rules.problems(card, "model") == []
    shown = {r.metric_type: r.metric_value for r in ModelCard(card).data.eval_results}
    rows = measured(str(adapter)).benchmarks["heldout"].metrics
    assert shown == {row.metric: pytest.approx(row.scores["adapted"].value) for row in rows}
    assert "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>" in card

    converted = server.files("model", f"{REPO}-GGUF")
    assert server.repository("model", f"{REPO}-GGUF").private
    assert set(converted) >= {"kotlin-phi-Q8_0.gguf", "Modelfile", "template", "params", "continue.yaml", "tabby.toml"}
    card = converted["README.md"].decode()
    assert card_rules.problems(card, "model") == []
    assert "base_model: tester/kotlin-phi\n" in card
    assert "base_model_relation: quantized" in card

    fresh = environment(server, tmp_path, HF_HOME=str(tmp_path / "another home"), OMP_NUM_THREADS="1")
    command = [sys.executable, "-c", COMPLETE, REPO, str(tiny_base)]
    said = subprocess.run(command, env=fresh, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    of_merged, of_base = map(float, said.stdout.splitlines()[-2:])  # divergence from the adapter, in nats a token
    assert abs(of_merged) < 0.02 * of_base, said.stderr

    commits = len(server.repository("model", REPO).commits)
    again = merge(server, tmp_path, *words, "--max_shard_size", "1MB")
    assert again.returncode == 0, again.stderr
    assert "already merged and verified; nothing to do" in again.stdout
    assert "already exported; nothing to do" in again.stdout
    assert len(server.repository("model", REPO).commits) == commits


def test_a_model_that_differs_is_not_pushed(server, adapter, tmp_path):
    """Planted: the weights of the base have changed since the training that the adapter's 4-bit manifest claims."""
    manifest = json.loads((adapter / "manifest.json").read_text())
    (adapter / "manifest.json").write_text(json.dumps({**manifest, "dataset": str(tmp_path / "none")}))
    planted = (
        "import codefit.modeling.merging as m;"
        "m.BaseWeights.read = (lambda read: lambda *a: read(*a) * 1.5)(m.BaseWeights.read)"
    )
    call = f"{planted}; import merge_lora; from codefit import cli; cli.run(merge_lora.main)"
    command = [sys.executable, "-c", call, "--hf_repository", str(adapter), "--push"]
    env = environment(server, tmp_path, OMP_NUM_THREADS="1")
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "the merged model differs from the adapter" in done.stderr
    assert [commit.title for commit in server.repository("model", REPO).commits] == ["initial commit"]
    assert sorted(path.name for path in adapter.parent.iterdir()) == ["adapter"]


def test_a_public_repository_is_refused_before_the_merge_when_private_was_asked(server, adapter, tmp_path):
    server.add_repository("model", REPO, private=False)
    done = merge(server, tmp_path, "--hf_repository", adapter, "--push", "--private")
    assert done.returncode == 1
    assert "the repository is public, but private was requested" in done.stderr
    assert sorted(path.name for path in adapter.parent.iterdir()) == ["adapter"]


def test_nothing_that_a_failing_push_writes_holds_the_token(server, adapter, tmp_path):
    """Not the terminal, not a manifest, a card or any other file, whatever the Hub says back."""
    echo = Fault(
        "POST .*/commit/",
        times=-1,
        status=403,
        headers={"X-Error-Message": f"Forbidden for Bearer {WRITE_TOKEN}"},
        body=json.dumps({"error": f"token {WRITE_TOKEN} may not"}),
    )
    server.faults.append(echo)
    done = merge(
        server, tmp_path, "--hf_repository", adapter, "--push", "--gguf", HF_DEBUG="1", HF_HUB_VERBOSITY="debug"
    )
    assert done.returncode == 1
    assert "was not pushed to tester/kotlin-phi" in done.stderr
    assert "Traceback" not in done.stderr
    assert WRITE_TOKEN not in done.stdout + done.stderr
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (adapter.parent / "merged" / "manifest.json") in written
    assert (adapter.parent / "merged-gguf" / "manifest.json") in written
    assert [path for path in written if WRITE_TOKEN.encode() in path.read_bytes()] == []
