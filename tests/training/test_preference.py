"""Preference training: which completions are wrong, and an adapter that prefers what the author wrote."""

import json
import sys

import pytest

from codefit.errors import UserError
from codefit.evaluation import preferences
from codefit.evaluation.preferences import INVENTS, OVER_LONG, REPEATS
from codefit.generation import likelihood
from codefit.records import Pair, Prediction, write_jsonl
from codefit.training import preference
from runs import prefer

PROMPT = "def area(shape):\n    return "


def item(text, finish_reason="stop", reference="shape.width * shape.height\n", prompt=PROMPT):
    return Prediction("1", prompt, text, reference, finish_reason, path="a.py", language="python")


@pytest.mark.parametrize(
    ("prediction", "why"),
    [
        (item("shape.width * shape.height\n"), ""),
        (item("shape.height * shape.width\n"), ""),  # as good as the author's
        (item("shape.known()\n"), ""),
        (item("shape.width\n\n\ndef other(shape):\n    return 1\n"), OVER_LONG),
        (item("shape.width", "length"), ""),  # may have gone on as the author's does
        (item("shape.width * shape.height * shape.width", "length"), OVER_LONG),
        (item("(a, b, a, b, a, b, a, b, a, b, a, b, a, b)\n"), REPEATS),
        (item("shape.made_up()\n"), INVENTS),
        (item("made_up(shape)\n"), INVENTS),
        (item('shape.width  # "made up" words\n'), ""),
        (item("eight\n", reference="ight\n", prompt=PROMPT + "shape.h"), INVENTS),  # shape.height, cut by the cursor
        (item("ight\n", reference="ight\n", prompt=PROMPT + "shape.he"), ""),
    ],
)
def test_what_is_wrong_with_a_completion(prediction, why):
    assert preferences.fault(prediction, {"known"}) == why


def test_prompts_are_drawn_from_pairs_with_a_natural_end(tmp_path):
    pairs = [Pair(str(n), "completion", "p", "c" if n % 3 else " ", "stop" if n % 2 else "length") for n in range(60)]
    write_jsonl(tmp_path / "train.jsonl", pairs)
    found = preferences.sampled(tmp_path / "train.jsonl", 10, 1)
    assert found == preferences.sampled(tmp_path / "train.jsonl", 10, 1)
    assert len(found) == 10
    assert all(pair.finish_reason == "stop" and pair.completion == "c" for pair in found)
    assert len(preferences.sampled(tmp_path / "train.jsonl", 1000, 1)) == 20


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["prefer.py", *map(str, words)])
    prefer.main()


def margin(folder):
    """The mean log-likelihood of what is preferred minus that of what is not, in nats."""
    rows = [json.loads(line) for line in (folder / "preferences.jsonl").read_text().splitlines()]
    model, encoder = prefer.load(folder, str(folder.parent / "base"), None, {"max_prompt_tokens": 128})
    prompts = [encoder.prompt_ids(row["prompt"]) for row in rows]
    nats = {
        key: sum(value for _, value in likelihood.nats_of(model, 0, prompts, encoder.ids([row[key] for row in rows])))
        for key in ("chosen", "rejected")
    }
    return (nats["rejected"] - nats["chosen"]) / len(rows)


def test_an_adapter_learns_to_prefer(made, monkeypatch, capsys, same_arithmetic):
    pytest.importorskip("trl")
    monkeypatch.setattr(prefer, "FEWEST", 4)
    words = [made / "adapter", "--max_new_tokens", 32, "--learning_rate", 1e-2, "--logging_steps", 1]
    for steps in (1, 12):
        run(monkeypatch, *words, "--max_steps", steps, "--output_dir", made / f"preferred-{steps}")
    said = capsys.readouterr().out
    assert "of 8 completions are wrong: " in said
    folder = made / "preferred-12"
    assert margin(folder) > margin(made / "preferred-1") + 1
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "log.jsonl"} <= {
        path.name for path in folder.iterdir()
    }
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(made / "base")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["dataset"] == str(made / "data")
    assert sum(manifest["preferences"].values()) <= manifest["asked"] == 8

    import merge_lora

    merge_lora.main(["--hf_repository", str(folder), "--output_dir", str(made / "preferred-merged")])
    assert (made / "preferred-merged" / "model.safetensors").is_file()

    before = (folder / "manifest.json").read_bytes()
    run(monkeypatch, *words, "--max_steps", 12, "--output_dir", folder)
    assert "is complete" in capsys.readouterr().out
    assert (folder / "manifest.json").read_bytes() == before
    with pytest.raises(UserError, match="already exists"):
        run(monkeypatch, *words, "--max_steps", 13, "--output_dir", folder)


def test_too_few_wrong_completions_are_refused(made, monkeypatch, tmp_path):
    pytest.importorskip("trl")
    with pytest.raises(UserError, match="wrong completions are too few to learn from; raise --prompts"):
        run(monkeypatch, made / "adapter", "--prompts", 2, "--max_new_tokens", 2, "--output_dir", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_trl_there_is_one_sentence(made, monkeypatch, tmp_path):
    monkeypatch.setattr(preference.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs TRL, which is not installed; run `pip install trl==1\.16\.0`"):
        run(monkeypatch, made / "adapter", "--output_dir", tmp_path / "out")


def test_a_folder_of_another_program_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"does not say what it was trained on; name a folder that train\.py wrote"):
        run(monkeypatch, tmp_path, "--output_dir", tmp_path / "out")
