"""Tokenizers that put a space in front of a text, through all stages: no space, tab or line end is lost anywhere."""

import json

import pytest
import torch
import transformers

import benchmarking
import complete
import merge_lora
import preprocess_data
import train
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.generation import batched
from codefit.modeling import loading
from codefit.records import Document, Pair, Prediction, read_jsonl, write_jsonl
from codefit.tasks import token_offsets
from tests.support.corpus import documents
from tests.support.tokenizer_styles import LOSSY, SPECIAL, legacy, metaspace, sentencepiece

CODE_LLAMA = ["<unk>", "<s>", "</s>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"]
STYLES = {
    "CodeLlamaTokenizerFast": lambda: sentencepiece(legacy(), special=CODE_LLAMA),
    "LlamaTokenizerFast": lambda: sentencepiece(legacy(), special=SPECIAL[:3]),
    "PreTrainedTokenizerFast": metaspace("first"),  # Mistral
}
TEXTS = [" foo", "foo", "   three", "    four", "        eight", "\ttab", "\n  line", "", " "]


def write_base(folder, name):
    """Write a random Llama with a tokenizer of a class of Transformers, which may build it in its own way."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=STYLES[name](), **special).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": name}))
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"vocab_size": 900, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**sizes, **ids, max_position_embeddings=512, initializer_range=0.3)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def indented(document):
    """Return a document in which some lines begin with tabs."""
    return Document(document.content.replace("    return", "\treturn"), document.path, document.repository)


def prepared(folder, base, task):
    write_jsonl(folder / "raw.jsonl", map(indented, documents(20)))
    words = ["--input", folder / "raw.jsonl", "--output", folder / task, "--task", task, "--model_name_or_path", base]
    few = ["--max_prompt_tokens", 64, "--max_completion_tokens", 24, "--max_pairs_per_file", 3, "--num_workers", 1]
    preprocess_data.main([*map(str, [*words, *few])])
    pairs = [pair for split in ("train", "test") for pair in read_jsonl(folder / task / f"{split}.jsonl", Pair)]
    assert len(pairs) > 30
    return folder / task, pairs


@pytest.fixture(params=STYLES)
def base(request, tmp_path):
    return write_base(tmp_path / "base", request.param)


def test_every_text_survives_every_stage(base, tmp_path, capsys):
    encoder = Encoder(loading.load_tokenizer(str(base)), 400)
    assert [encoder.decode(ids) for ids in encoder.ids(TEXTS)] == TEXTS
    task = "infill" if encoder.fim else "completion"
    data, pairs = prepared(tmp_path, base, task)
    assert any(pair.completion[:1] in " \t\n" for pair in pairs), "some completions begin with white space"
    counting = token_offsets.load_tokenizer(str(base))
    for pair, sample in zip(pairs, encoder.samples(pairs), strict=True):
        completion = sample.ids[sample.start :].tolist()
        assert encoder.decode(completion) == pair.completion
        assert len(token_offsets.token_starts(counting, [pair.completion])[0]) == len(completion) - (
            pair.finish_reason == "stop"
        )

    words = ["--model_name_or_path", base, "--dataset", data, "--output_dir", tmp_path / "adapter", "--max_steps", 3]
    sizes = ["--max_length", 400, "--max_prompt_tokens", 300, "--learning_rate", 1e-2, "--eval_predictions", 2]
    train.main([*map(str, [*words, *sizes, "--no-load_in_4bit"])])
    merge_lora.main(["--hf_repository", str(tmp_path / "adapter"), "--gguf", "f16"])
    assert "-F16.gguf: checked in llama.cpp: the same tokens and completions as the model" in capsys.readouterr().out
    merged = tmp_path / "merged"
    assert Encoder(loading.load_tokenizer(str(merged)), 400).ids(TEXTS) == encoder.ids(TEXTS)

    asked = ["--hf_repository", merged, "--dataset", data, "--output_dir", tmp_path / "out", "--sample", 4]
    benchmarking.main([*map(str, [*asked, "--max_new_tokens", 12, "--max_prompt_tokens", 300])])
    (file,) = (tmp_path / "out").glob("predictions-adapted-*.jsonl")
    _, model = loading.load(str(merged))
    references = {pair.id: pair for pair in pairs}
    for item in read_jsonl(file, Prediction):
        pair = references[item.id]
        assert item.reference == pair.completion
        prompt = encoder.prompt_ids(pair.prompt, pair.suffix)
        (made,) = batched.generate(model, [prompt], max_new_tokens=12, eos_ids=encoder.eos_ids, pad_id=0)
        assert item.prediction.startswith(encoder.decode(made.ids)[: len(item.prediction)])
        suffix = [] if pair.suffix is None else ["--suffix", pair.suffix]
        capsys.readouterr()
        complete.main(["--hf_repository", str(merged), "--prompt", pair.prompt, *suffix, "--max_new_tokens", "12"])
        assert capsys.readouterr().out == encoder.decode(made.ids) + "\n"


@pytest.mark.parametrize("style", LOSSY)
def test_counting_refuses_a_tokenizer_that_training_would_refuse(style, tmp_path):
    LOSSY[style]().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"the tokenizer of .* does not round-trip every text \(.* becomes"):
        token_offsets.load_tokenizer(str(tmp_path))
