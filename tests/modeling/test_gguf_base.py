"""A GGUF file as a base: the tokens and predictions of the original model, or a one-sentence error."""

import concurrent.futures
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import transformers

from codefit import gguf_base, outputs
from codefit.errors import UserError
from codefit.manifest import ROOT, read_manifest, sha256
from codefit.modeling import gguf_import, loading, pre_tokenizers
from codefit.publishing import gguf, gguf_tokenizer

BASE = ROOT / "data" / "base"
TEXTS = [
    "    1",
    "x  12\t\t2  \n\n\n    foo(a_b)",
    " leading",
    "\ttab",
    "日本語 テキスト",
    "😀 é e\u0301",
    "",
    "\n",
    "3.14",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The bundled base model as a GGUF file in float16."""
    path = tmp_path_factory.mktemp("gguf") / "base.gguf"
    gguf.write(BASE, path, "f16", "base")
    return path


def in_this_process(command, run=subprocess.run, **options):
    """Do what the conversion's own process would do; run any other command."""
    if "codefit.modeling.gguf_import" not in command:
        return run(command, **options)
    gguf_import.write_folder(*map(Path, command[-2:]))
    return subprocess.CompletedProcess(command, 0)


@pytest.fixture(scope="module")
def here():
    """Convert in this process, which has imported torch already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf_base.subprocess, "run", in_this_process)
        yield


@pytest.fixture(scope="module")
def folder(file, here):
    return Path(gguf_base.local_model(str(file)))


def logits(folder):
    """Return the logits of a fixed text, shape (tokens, vocabulary), float32."""
    tokenizer = loading.load_tokenizer(str(folder))
    ids = torch.tensor([tokenizer("def read_lines(path):\n    with open(", add_special_tokens=False).input_ids])
    with torch.no_grad():
        return loading.load_model(str(folder), dtype=torch.float32)(ids).logits[0]


def test_tokens_are_those_of_the_original(folder):
    ours, original = (loading.load_tokenizer(str(place)) for place in (folder, BASE))
    for text in TEXTS:
        ids = ours(text, add_special_tokens=False).input_ids
        assert ids == original(text, add_special_tokens=False).input_ids
        assert ours.decode(ids) == text
    assert (ours.eos_token_id, len(ours)) == (original.eos_token_id, len(original))


def test_the_model_computes_what_the_original_computes(folder):
    assert torch.allclose(logits(folder), logits(BASE), atol=2e-2)


def test_q8_0_is_close_to_the_original(here, tmp_path):
    gguf.write(BASE, tmp_path / "small.gguf", "q8_0", "small")
    ours, original = logits(Path(gguf_base.local_model(str(tmp_path / "small.gguf")))), logits(BASE)
    assert 0 < (ours - original).abs().max() < 1.0
    assert (ours.argmax(-1) == original.argmax(-1)).float().mean() > 0.8


def test_the_manifest_names_the_file(file, folder):
    made = read_manifest(folder)
    assert made["inputs"] == {str(file): sha256(file)}
    assert (made["gguf"]["architecture"], made["gguf"]["quantisation"], made["dtype"]) == ("llama", "F16", "float16")


def test_a_file_is_converted_once(file, folder, monkeypatch):
    monkeypatch.setattr(gguf_base.subprocess, "run", lambda *_, **__: pytest.fail("converted again"))
    assert gguf_base.local_model(str(file)) == str(folder)
    assert gguf_base.local_model(str(file.parent)) == str(folder), "a folder with one file means that file"


@pytest.mark.parametrize("patience", [60, 0.1])
def test_a_run_waits_for_another_that_converts_the_same_file(patience, file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gguf_import, "PATIENCE", patience)
    folder = tmp_path / "model"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with outputs.new_directory(folder) as work:
            other = pool.submit(gguf_import.write_folder, file, folder)
            concurrent.futures.wait([other], timeout=1)
            (work / "made by the first run").touch()
        if patience < 1:
            with pytest.raises(UserError, match="another run is writing"):
                other.result()
        else:
            other.result()
    assert [path.name for path in folder.iterdir()] == ["made by the first run"]
    assert "another run has begun to dequantise it; waiting" in capsys.readouterr().out


def test_two_runs_that_begin_together_convert_the_file_once(file, tmp_path, monkeypatch):
    together, read, read_header = threading.Barrier(2), [], gguf_import.read_header
    monkeypatch.setattr(gguf_import, "read_header", lambda path: read.append(path) or read_header(path))

    def convert() -> None:
        together.wait()
        gguf_import.write_folder(file, tmp_path / "model")

    with concurrent.futures.ThreadPoolExecutor() as pool:
        for run in [pool.submit(convert) for _ in range(2)]:
            run.result()
    assert read == [file]
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "no workspace is left"


def test_names_of_other_models_are_not_changed(tmp_path):
    for name in ("microsoft/phi-1_5", str(BASE), str(tmp_path)):
        assert gguf_base.local_model(name) == name


def test_the_calling_process_does_not_import_torch(file):
    call = "gguf_base.local_model(sys.argv[1])"
    code = f"import sys; from codefit import gguf_base; {call}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT, check=True)


@pytest.mark.parametrize("architecture", ["qwen2", "starcoder2"])
def test_other_architectures(architecture, here, tmp_path):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    kind = {"qwen2": transformers.Qwen2Config, "starcoder2": transformers.Starcoder2Config}[architecture]
    torch.manual_seed(0)
    words = len(loading.load_tokenizer(str(BASE)))
    model = transformers.AutoModelForCausalLM.from_config(kind(vocab_size=words, num_key_value_heads=2, **sizes))
    model.save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, tmp_path / "model" / name)
    gguf.write(tmp_path / "model", tmp_path / "model.gguf", "f32", "x")
    ours = Path(gguf_base.local_model(str(tmp_path / "model.gguf")))
    assert torch.allclose(logits(ours), logits(tmp_path / "model"), atol=1e-4)


# ---------------------------------------------------------------------------------------------- what cannot be read


def test_a_damaged_file_is_refused(file, tmp_path, monkeypatch):
    data = file.read_bytes()
    harms = (data[: len(data) // 2], b"GGUF" + b"\xff" * 500, data[:1000], b"GGUF", b"", b"\0" * 500)
    for number, harm in enumerate(harms):
        damaged = tmp_path / f"{number}.gguf"
        damaged.write_bytes(harm)
        with pytest.raises(UserError, match=r"is not a complete GGUF file|cannot read .* as a model"):
            gguf_base.local_model(str(damaged))
        monkeypatch.setattr(gguf_base.subprocess, "run", in_this_process)  # the first has met a process of its own
    assert not [path for path in gguf_base.cache_folder().rglob("*") if path.name.startswith(("0-", "1-"))]


def test_an_unknown_pre_tokenizer_is_refused(here, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_tokenizer, "NAMES", dict.fromkeys(pre_tokenizers.NAMES, "somebody-else"))
    gguf.write(BASE, tmp_path / "x.gguf", "f16", "x")
    with pytest.raises(
        UserError, match=r"uses a pre-tokenizer that codefit does not know \(somebody-else\); name the "
    ):
        gguf_base.local_model(str(tmp_path / "x.gguf"))


@pytest.mark.parametrize(
    ("architecture", "settings", "said"),
    [
        (
            "llama",
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0},
            "rope.scaling.type = yarn, rope",
        ),
        ("qwen2", {"rope.scaling.type": "linear"}, "rope.scaling.type = linear"),
        ("qwen2", {"rope.scaling.factor": 4.0}, "rope.scaling.factor = 4.0"),
        ("llama", {"attention.sliding_window": 4096}, "attention.sliding_window = 4096"),
        ("llama", {"logit_scale": 0.5}, "logit_scale = 0.5"),
        ("qwen2", {"rope.dimension_count": 8}, "rope.dimension_count = 8"),
        ("llama", {"rope.scaling.type": "none", "attention.causal": True, "attention.value_length": 16}, None),
        ("qwen2", {"rope.dimension_count": 16, "attention.key_length": 16, "vocab_size": 7}, None),
        ("qwen2", {"rope.dimension_count": 16}, None),
        ("unheard-of", {"logit_scale": 0.5}, None),
    ],
)
def test_settings_that_transformers_does_not_read_are_refused(architecture, settings, said, tmp_path):
    import gguf as library

    writer = library.GGUFWriter(tmp_path / "x.gguf", architecture)
    kinds = {str: writer.add_string, float: writer.add_float32, bool: writer.add_bool, int: writer.add_uint32}
    for key, value in {"attention.head_count": 4, "embedding_length": 64, "context_length": 99, **settings}.items():
        kinds[type(value)](f"{architecture}.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    if said is None:
        assert gguf_import.read_header(tmp_path / "x.gguf").architecture == architecture
    else:
        with pytest.raises(UserError, match=rf"that Transformers does not read \(.*{said}.*; name the original"):
            gguf_import.read_header(tmp_path / "x.gguf")


def test_rope_factors_of_llama_3_are_refused():
    found = {"general.architecture": "llama"}
    with pytest.raises(UserError, match=r"does not read \(rope_freqs.weight\)"):
        gguf_import.refuse_unread(Path("x.gguf"), found, ["token_embd.weight", "rope_freqs.weight"])


def test_several_files_or_a_part_of_one_are_refused(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"contains several GGUF files \(a.gguf, b.gguf\); give one of them"):
        gguf_base.local_model(str(tmp_path))
    part = tmp_path / "big-00001-of-00003.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(UserError, match="is one part of a split GGUF file; join the parts with"):
        gguf_base.local_model(str(part))
