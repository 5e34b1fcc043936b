"""BERTScore (arXiv 1904.09675) by the package bert-score, with a model from a folder of the user.

Neither is among the requirements. The package knows which layer to use only for models by their names on the Hub, so
the number of layers is given, too. No scores are rescaled and no words weighted.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codefit import gguf_base, model_files
from codefit.errors import UserError
from codefit.manifest import digest_of_folder
from codefit.records import Prediction
from codefit.scoring.metric import library
from codefit.scoring.statistics import Array

REQUIREMENT = "bert-score==0.3.13"
LONGEST = 1 << 20  # tokens; a tokenizer that states no limit says a larger number


def checked(model: str, num_layers: int) -> Path:
    """Return the folder of a model that the package can use.

    Raises:
        UserError: the package is not installed, or the model is not there, has no safetensors, too few layers, or a
            tokenizer without a limit.
    """
    if importlib.util.find_spec("bert_score") is None:
        raise UserError(f"BERTScore needs bert-score, which is not installed; run `pip install {REQUIREMENT}`.")
    if not Path(model).expanduser().exists():
        raise UserError(f"{model} is not on this machine; download a model such as roberta-large and give its folder.")
    folder = Path(gguf_base.local_model(model)).expanduser()
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} has no *.safetensors, the only weights that are read; give another model.")
    config = model_files.model_config(folder / model_files.CONFIG)
    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and num_layers > layers:
        raise UserError(f"{model} has {layers} layers, fewer than {num_layers}; lower --num_layers.")
    from transformers import AutoTokenizer

    if AutoTokenizer.from_pretrained(folder).model_max_length > LONGEST:
        raise UserError(
            f"{folder / model_files.TOKENIZER_CONFIG} does not say how many tokens the model can read, which "
            'bert-score needs; add "model_max_length" to a copy of the folder.'
        )
    return folder


def scores(items: Sequence[Prediction], folder: Path, num_layers: int) -> Array:
    """Return (F1 of BERTScore in percent, 1) for each item; shape (items, 2), float64.

    A prediction or reference without text gets 0, as in the package, which cannot encode it with today's Transformers.
    """
    import bert_score

    found = np.column_stack([np.zeros(len(items)), np.ones(len(items))])
    there = [at for at, item in enumerate(items) if item.prediction.strip() and item.reference.strip()]
    if there:
        texts = [items[at].prediction for at in there], [items[at].reference for at in there]
        *_, f1 = bert_score.score(*texts, model_type=str(folder), num_layers=num_layers)
        found[there, 0] = 100 * f1.numpy()
    return found


def signature(n: int, folder: Path, num_layers: int) -> str:
    """Return the signature of a value of n items."""
    model = f"{folder.name}-{digest_of_folder(folder)[:12]}"
    words = f"bert_score|f1|model:{model}|layers:{num_layers}|idf:no|baseline:no|mean:items|round:none"
    return f"{words}|n:{n}|lib:{library('bert-score')}"
