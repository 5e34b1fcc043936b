"""JSON files of others: what is wrong in one sentence, with the file, the field, what was expected, and what to do."""

import json

import msgspec
import pytest

from codefit import json_files, model_files
from codefit.errors import UserError


class Shape(msgspec.Struct):
    """A kind of file for the tests."""

    size: int
    names: list[str] = []
    share: float | None = None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"size": "3"}', 'the field "size" must be a whole number, not text; get it again.'),
        (b"{}", 'the field "size" is missing; get it again.'),
        (b'{"size": 3, "names": ["a", 4]}', 'the field "names[1]" must be text, not a whole number; get it again.'),
        (b'{"size": 3, "share": []}', 'the field "share" must be a number or null, not a list; get it again.'),
        (b"[3]", "the file must be an object, not a list; get it again."),
        (b'{"size": 3', "is not valid JSON (Expecting ',' delimiter: line 1 column 11 (char 10)); get it again."),
        (b'\xef\xbb\xbf{"size": 3}', "is not valid JSON (Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column"),
        (
            b'{"size": \xff}',
            "is not valid JSON ('utf-8' codec can't decode byte 0xff in position 9: invalid start byte)",
        ),
        (b'{"size": 3, "names": ["\\ud800"]}', "lone surrogate (not valid Unicode)"),
        (b"[" * 100_000, "it is nested too deeply; get it again."),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, content, said):
    path = tmp_path / "shape.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        json_files.read(path, Shape, "get it again")
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_right_is_read_and_other_fields_are_ignored(tmp_path):
    (tmp_path / "shape.json").write_text('{"size": 3, "share": NaN, "more": [1]}')
    found = json_files.read(tmp_path / "shape.json", Shape, "get it again")
    assert (found.size, found.names) == (3, [])
    assert found.share != found.share


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": 0}, 'the field "hidden_size" must be a whole number'),
        ({"vocab_size": 10**9}, 'the field "vocab_size" is 1000000000, more than the weights of the model have'),
        ({"num_hidden_layers": 10**6}, 'the field "num_hidden_layers" is 1000000, more than the weights'),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ({"initializer_range": float("nan")}, "contains a value that is not a number (NaN)"),
        ({"text_config": 3}, 'the field "text_config" must be an object'),
        ({"eos_token_id": ["a"]}, 'the field "eos_token_id'),
    ],
)
def test_a_configuration_that_asks_for_what_cannot_be_is_refused(tiny_base, tmp_path, changes, said):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_bytes((tiny_base / name).read_bytes())
    model_files.check_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError) as caught:
        model_files.check_model(tmp_path)
    assert said in str(caught.value)


def test_a_missing_shard_and_a_file_outside_are_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    index = tmp_path / model_files.INDEX
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(UserError, match=r"lacks model-00001-of-00002.safetensors, which has a part of the weights"):
        model_files.check_model(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(UserError, match=r"names a file outside the folder"):
        model_files.check_model(tmp_path)
