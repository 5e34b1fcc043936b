"""The flags of a model from scratch and of a search, with their checks. Does not import torch, so --help stays fast."""

from typing import Any

from codefit import cli, distributed
from codefit.errors import UserError
from codefit.training.settings import TrainSettings

TOKENIZERS = ("bpe", "identifier")
CURRICULA = ("sequential", "reversed", "sliding_window", "hybrid", "growing_pool", "growing_pool_reversed")
DIFFICULTIES = ("rarity", "entropy", "loss", "own_loss", "length")


def add(group: Any) -> None:
    """Add the flags to a group of train.py's parser."""
    flag, positive = group.add_argument, cli.number(int, 1)
    flag("--from_scratch", action="store_true", help="train a new tokenizer and a new decoder on whole documents")
    flag("--vocab_size", type=cli.number(int, 300), default=8192, help="size of the vocabulary")
    flag("--tokenizer_type", choices=TOKENIZERS, default="bpe", help="identifier: also split names into their words")
    flag("--hidden_size", type=positive, default=256, help="size of the hidden states")
    flag("--num_hidden_layers", type=positive, default=4, help="number of layers")
    flag("--num_attention_heads", type=positive, default=4, help="number of attention heads")
    flag("--intermediate_size", type=positive, default=1024, help="size of the feed-forward layers")
    flag("--dropout", type=cli.number(float, 0, 0.9), default=0.0, help="dropout of embeddings, attention and layers")
    flag("--fim_rate", type=cli.number(float, 0, 1), default=0.5, help="share of chunks made fill-in-the-middle")
    flag("--curriculum", choices=CURRICULA, help="order of the documents by difficulty; when absent: random")
    flag(
        "--curriculum_by",
        choices=DIFFICULTIES,
        default="rarity",
        help="measure of difficulty: rarity or entropy of the tokens, loss of --curriculum_model, loss of the model "
        "itself at the beginning of every epoch (own_loss), or length",
    )
    flag("--curriculum_model", help="a trained model whose loss is the difficulty")


def add_search(group: Any) -> None:
    """Add the flags of a hyperparameter search, which also works for adapters."""
    flag = group.add_argument
    flag("--trials", type=cli.number(int, 1), help="number of runs, each in its own folder in --output_dir")
    flag(
        "--search",
        nargs="+",
        metavar="FLAG=VALUES",
        help="flags to vary: learning_rate=1e-4..1e-2 is a range, lora_r=8,16,32 a choice",
    )


def refuse(settings: TrainSettings) -> None:
    """Raise UserError for a model from scratch that cannot be built, and for contradictory curriculum flags."""
    order, shape, max_length = settings.curriculum, settings.new_model, settings.left_open.max_length
    if order.curriculum and not settings.from_scratch:
        raise UserError("--curriculum is for a model from scratch; add --from_scratch, or leave it out.")
    if order.curriculum and order.curriculum_by == "loss" and not order.curriculum_model:
        raise UserError(
            "--curriculum_by loss needs a model to compute the loss with; name one with --curriculum_model, such as "
            "the result of the same command without a curriculum and with a small --max_steps."
        )
    if order.curriculum_model and not (order.curriculum and order.curriculum_by == "loss"):
        raise UserError(
            "--curriculum_model is used only by --curriculum with --curriculum_by loss; add both, or leave it out."
        )
    if order.curriculum and order.curriculum_by == "own_loss" and distributed.processes() > 1:
        raise UserError("--curriculum_by own_loss works in one process; start without a launcher, or choose loss.")
    if not settings.from_scratch:
        return
    if shape.hidden_size % (2 * shape.num_attention_heads):
        raise UserError(
            f"--hidden_size {shape.hidden_size} does not give {shape.num_attention_heads} heads an even head size; "
            "make it a multiple of twice --num_attention_heads."
        )
    if max_length and max_length < 32:
        raise UserError(f"--max_length {max_length} is too short for a model from scratch; give 32 or more.")
