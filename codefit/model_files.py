"""The types of the fields in the files of a model, an adapter and a tokenizer.

Only fields that codefit reads, or that could make a library fail, hang or fill the memory, are listed. The libraries
check the rest.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from codefit import json_files
from codefit.errors import UserError

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CONFIG, GENERATION_CONFIG = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
SPECIAL_TOKENS, ADDED_TOKENS = "special_tokens_map.json", "added_tokens.json"
# A tokenizer needs one of these files, which contains the vocabulary.
VOCABULARIES = (TOKENIZER, "tokenizer.model", "vocab.json", "spiece.model", "vocab.txt")

GGUF_KINDS = ("q8_0", "f16")  # kinds of GGUF files on offer; f32 is for comparisons

AGAIN = "get the files again from their source"

Size = json_files.Count
Sizes = Size | list[Size] | None
TokenId = Annotated[int, Meta(ge=-1, le=2**31 - 1)]  # some files have -1 for "none"
Row = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]
Share = Annotated[float, Meta(ge=0, le=1)]


class ModelConfig(msgspec.Struct):
    """config.json. Each architecture has only some of the sizes, under its own names."""

    model_type: str
    architectures: list[str] | None = None
    vocab_size: Sizes = None
    hidden_size: Sizes = None
    n_embd: Sizes = None
    d_model: Sizes = None
    intermediate_size: Sizes = None
    n_inner: Sizes = None
    ffn_dim: Sizes = None
    num_hidden_layers: Sizes = None
    n_layer: Sizes = None
    n_layers: Sizes = None
    num_layers: Sizes = None
    num_attention_heads: Sizes = None
    num_key_value_heads: Sizes = None
    n_head: Sizes = None
    n_heads: Sizes = None
    head_dim: Sizes = None
    max_position_embeddings: Sizes = None
    n_positions: Sizes = None
    n_ctx: Sizes = None
    max_seq_len: Sizes = None
    bos_token_id: TokenId | list[TokenId] | None = None
    eos_token_id: TokenId | list[TokenId] | None = None
    pad_token_id: TokenId | None = None
    rms_norm_eps: Share | None = None
    layer_norm_eps: Share | None = None
    layer_norm_epsilon: Share | None = None
    norm_epsilon: Share | None = None
    rope_theta: Annotated[float, Meta(gt=0, le=1e30)] | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    layer_types: list[str] | None = None
    tie_word_embeddings: bool | None = None
    dtype: str | dict[str, Any] | None = None
    torch_dtype: str | None = None
    quantization_config: dict[str, Any] | None = None
    hidden_act: str | None = None


# The names that architectures give their context window.
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx", "context_length")
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTHS = (
    *("vocab_size", "hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "ffn_dim", "head_dim"),
    *("num_attention_heads", "num_key_value_heads", "n_head", "n_heads"),
)


class GenerationConfig(msgspec.Struct):
    """generation_config.json, of which only the special tokens are used: decoding follows codefit's flags."""

    bos_token_id: TokenId | list[TokenId] | None = None
    eos_token_id: TokenId | list[TokenId] | None = None
    pad_token_id: TokenId | list[TokenId] | None = None


class WeightIndex(msgspec.Struct):
    """model.safetensors.index.json: the file of each weight."""

    weight_map: dict[str, str]


class AdapterConfig(msgspec.Struct):
    """PEFT's adapter_config.json, as PEFT and other tools write it."""

    peft_type: str | None = None
    base_model_name_or_path: str | None = None
    revision: str | None = None
    task_type: str | None = None
    r: Annotated[int, Meta(ge=1, le=2**16)] = 8
    lora_alpha: Finite | None = None
    lora_dropout: Share | None = None
    target_modules: str | list[str] | None = None
    exclude_modules: str | list[str] | None = None
    target_parameters: list[str] | None = None
    modules_to_save: list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    rank_pattern: dict[str, Annotated[int, Meta(ge=1, le=2**16)]] | None = None
    alpha_pattern: dict[str, Finite] | None = None
    trainable_token_indices: list[Row] | dict[str, list[Row]] | None = None
    bias: Literal["none", "all", "lora_only"] | None = None
    use_dora: bool | None = None
    use_rslora: bool | None = None
    lora_bias: bool | None = None
    fan_in_fan_out: bool | None = None
    init_lora_weights: bool | str | None = None
    layer_replication: None = None  # it could create a model of any size
    megatron_config: None = None  # it would import a module named in the file

    def patterns(self) -> list[str]:
        """Return the texts that PEFT will match against module names as regular expressions."""
        texts = (self.target_modules, self.exclude_modules, self.layers_pattern)
        found = [text for text in texts if isinstance(text, str) and text != "all-linear"]
        found += self.layers_pattern if isinstance(self.layers_pattern, list) else []
        return [*found, *(self.rank_pattern or {}), *(self.alpha_pattern or {})]


class AddedToken(msgspec.Struct):
    """A token in the list `added_tokens` of tokenizer.json."""

    id: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    content: str
    special: bool = False


class Step(msgspec.Struct):
    """A pre-tokenizer, or a sequence of them."""

    type: str | None = None
    pretokenizers: "list[Step]" = []
    pattern: dict[str, str] | str | None = None
    behavior: str | None = None
    individual_digits: bool | None = None
    add_prefix_space: bool | None = None
    use_regex: bool | None = None


class Normalizer(msgspec.Struct):
    """A normalizer, which changes a text before it is split."""

    type: str | None = None


class TokenizerModel(msgspec.Struct):
    """The vocabulary of tokenizer.json, and the merges of a byte-pair model."""

    vocab: dict[str, Annotated[int, Meta(ge=0, le=2**31 - 1)]] | list[tuple[str, float]]
    type: str | None = None
    merges: list[str | list[str]] = []


class TokenizerFile(msgspec.Struct):
    """tokenizer.json."""

    model: TokenizerModel
    added_tokens: list[AddedToken] | None = None
    pre_tokenizer: Step | None = None
    normalizer: Normalizer | None = None
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


class TokenText(msgspec.Struct):
    """A special token given with its properties."""

    content: str


Token = str | TokenText | None


class ChatTemplate(msgspec.Struct):
    """One of several chat templates."""

    name: str
    template: str


class TokenizerConfig(msgspec.Struct):
    """tokenizer_config.json."""

    tokenizer_class: str | None = None
    bos_token: Token = None
    eos_token: Token = None
    unk_token: Token = None
    pad_token: Token = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    add_prefix_space: bool | None = None
    model_max_length: float | None = None
    chat_template: str | list[ChatTemplate] | None = None
    added_tokens_decoder: dict[str, TokenText] | None = None
    extra_special_tokens: list[Token] | dict[str, Token] | None = None
    additional_special_tokens: list[Token] | None = None
    padding_side: Literal["left", "right"] | None = None
    truncation_side: Literal["left", "right"] | None = None


class SpecialTokens(msgspec.Struct):
    """special_tokens_map.json."""

    bos_token: Token = None
    eos_token: Token = None
    unk_token: Token = None
    pad_token: Token = None
    additional_special_tokens: list[Token] | dict[str, Token] | None = None


# ---------------------------------------------------------------------------------------------- reading and checks


def adapter_config(path: Path) -> AdapterConfig:
    """Return the content of an adapter_config.json. Raises UserError if it is not valid."""
    return json_files.read(path, AdapterConfig, "train again, or get the adapter again")


def model_config(path: Path) -> dict[str, Any]:
    """Return the content of a config.json after a check of its types. Raises UserError if it is not valid."""
    content = json_files.load(path, AGAIN)
    _check_config(content, path)
    return dict(content)


def _check_config(content: Any, path: Path) -> None:
    json_files.checked(content, ModelConfig, str(path), AGAIN)
    if "auto_map" in content and not isinstance(content["auto_map"], dict):
        raise UserError(f'{path}: the field "auto_map" must be an object; {AGAIN}.')
    if isinstance(content.get("text_config"), dict):
        _check_config({"model_type": content["model_type"], **content["text_config"]}, path)
    elif content.get("text_config") is not None:
        raise UserError(f'{path}: the field "text_config" must be an object; {AGAIN}.')
    if _holds_nan(content):
        raise UserError(f"{path} contains a value that is not a number (NaN); {AGAIN}.")


def _holds_nan(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_nan, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and value != value


def generation_ends(path: Path) -> list[int]:
    """Return the end-of-sequence tokens in a generation_config.json or config.json; [] if it names none.

    Raises:
        UserError: the value is not a token id or a list of them.
    """
    ends = json_files.read(path, GenerationConfig, AGAIN).eos_token_id
    return [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None and end >= 0]


def check_tokenizer(folder: Path) -> None:
    """Raise UserError if a tokenizer file in a folder is not valid."""
    kinds: tuple[tuple[str, Any], ...] = (
        (TOKENIZER, TokenizerFile),
        (TOKENIZER_CONFIG, TokenizerConfig),
        (SPECIAL_TOKENS, SpecialTokens),
        (ADDED_TOKENS, dict[str, TokenId]),
    )
    for name, kind in kinds:
        if (folder / name).is_file():
            json_files.read(folder / name, kind, AGAIN)


def check_model(folder: Path) -> None:
    """Raise UserError if a file of the full model in a folder is missing or not valid.

    Every layer has at least one tensor, and every width is a dimension of a tensor. A config.json with larger values
    than the weights would fill the memory, or hang, before anything could be compared.
    """
    config = model_config(folder / CONFIG)
    if (folder / GENERATION_CONFIG).is_file():
        generation_ends(folder / GENERATION_CONFIG)
    shapes = weights_of(folder)
    if not shapes:
        return
    for part in (config, config.get("text_config") or {}):
        limits = dict.fromkeys(LAYERS, len(shapes))
        # an element of packed or quantised weights holds up to eight numbers
        limits |= dict.fromkeys(WIDTHS, 8 * max(sum(_product(shape) for shape in shapes.values()), 1))
        for name, limit in limits.items():
            asked = part.get(name)
            if max(asked if isinstance(asked, list) else [asked or 0], default=0) > limit:
                raise UserError(
                    f'{folder / CONFIG}: the field "{name}" is {asked}, more than the weights of the model '
                    f"have; {AGAIN}."
                )


def _product(shape: list[int]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found


def weights_of(folder: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor in the safetensors files of a full model; {} if it has none.

    Raises:
        UserError: the index is damaged, or a file that it names is missing or damaged.
    """
    if not (folder / INDEX).is_file():
        return shapes_in(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else {}
    index = json_files.read(folder / INDEX, WeightIndex, AGAIN)
    found: dict[str, list[int]] = {}
    for file in sorted(set(index.weight_map.values())):
        if Path(file).name != file:
            raise UserError(f"{folder / INDEX} names a file outside the folder ({file}); {AGAIN}.")
        if not (folder / file).is_file():
            raise UserError(f"{folder} lacks {file}, which has a part of the weights; {AGAIN}.")
        found |= shapes_in(folder / file)
    if absent := sorted(set(index.weight_map) - set(found)):
        raise UserError(f"{folder / INDEX} names weights that are in no file ({absent[0]}); {AGAIN}.")
    return found


def shapes_in(path: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor in a safetensors file, by name, without reading the tensors.

    Raises:
        UserError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as content:
            return {name: content.get_slice(name).get_shape() for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the weights in {path} are damaged ({reason}); {AGAIN}.") from None
