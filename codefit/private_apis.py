"""All uses of private APIs of libraries, for which there is no public alternative; each has its own test.

Libraries are passed in, not imported, so that code without torch stays without it. If an upgrade removes one of these
APIs, tests/test_private_apis.py fails and says what it was for. The private methods of the Trainer that
training/trainer.py overrides or calls are listed here and stay there.
"""

import argparse
import contextlib
import textwrap
from collections.abc import Iterator
from typing import Any

TRAINER_METHODS = {"_save_checkpoint": ["self", "model", "trial"], "_prepare_inputs": ["self", "inputs"]}


WIDEST = 100  # columns of a paragraph
LONGEST_CHOICES = 25  # characters of a list of choices that is shown as the value of a flag


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the docstring's layout, and show every default that is a value; an empty list is none.

    A flag with several names shows its value once, and a value is named after its type, not after the flag.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.strip("\n").split("\n\n")
        return "\n\n".join(part if "    " in part else textwrap.fill(part, min(width, WIDEST)) for part in parts) + "\n"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return str(getattr(action.type, "__name__", "text")).upper()

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Any:
        if action.metavar is None and _has_many_choices(action):
            return lambda size: ("NAME",) * size
        return super()._metavar_formatter(action, default_metavar)

    def _get_help_string(self, action: argparse.Action) -> str:
        help_text = action.help or ""
        if _has_many_choices(action):
            help_text += f"; one of {', '.join(map(str, action.choices or ()))}"
        valueless = action.default == [] or any(action.default is value for value in (None, False, argparse.SUPPRESS))
        if valueless or "(default" in help_text:
            return help_text
        if isinstance(action.default, list):
            return f"{help_text} (default: {' '.join(map(str, action.default))})"
        return help_text + " (default: %(default)s)"


def _has_many_choices(action: argparse.Action) -> bool:
    return len(",".join(map(str, action.choices or ()))) > LONGEST_CHOICES


@contextlib.contextmanager
def groups_hidden(parser: argparse.ArgumentParser, hidden: list[Any]) -> Iterator[None]:
    """Leave groups of flags out of the help that is made in this context."""
    groups = parser._action_groups
    parser._action_groups = [group for group in groups if group not in hidden]
    try:
        yield
    finally:
        parser._action_groups = groups


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the flags of a parser in the order in which they were added."""
    return list(parser._actions)


def groups_of(parser: argparse.ArgumentParser) -> dict[str, list[argparse.Action]]:
    """Return the flags of each group of a parser, by title."""
    return {group.title or "": list(group._group_actions) for group in parser._action_groups}


def attention_of(model: Any) -> str:
    """Return the attention implementation of a Transformers model: "sdpa", "eager" and so on."""
    return str(model.config._attn_implementation)


def storage_number(tensor: Any) -> int:
    """Return an identifier of a tensor's storage, also on the meta device, where all addresses are 0."""
    return int(tensor.untyped_storage()._cdata)


def tensors_without_values(torch: Any) -> Any:
    """Return a context in which new tensors have a shape, dtype and device, but no values."""
    return torch._subclasses.fake_tensor.FakeTensorMode(allow_non_fake_inputs=True)


def use_one_gpu(options: Any) -> None:
    """Make a Trainer with these TrainingArguments use only one GPU in this process."""
    options._n_gpu = 1


def sums_of_losses(trainer: Any) -> dict[str, float]:
    """Return what a Trainer has summed up of its losses and does not keep in a checkpoint.

    `since_log` is the mean over all processes, which must all ask; `logged` is the sum that was logged up to `step`.
    """
    since_log = trainer.accelerator.reduce(trainer._tr_loss.clone(), "mean").item()
    return {"since_log": since_log, "logged": trainer._total_loss_scalar, "step": trainer._globalstep_last_logged}


def continue_losses(trainer: Any, sums: dict[str, float]) -> None:
    """Make a Trainer that begins go on with the sums of another; its mean loss is then that of all steps."""
    trainer._tr_loss += sums["since_log"]
    trainer._total_loss_scalar = sums["logged"]
    trainer._globalstep_last_logged = sums["step"]
    trainer._initial_global_step = 0


def file_if_there(hub: Any, name: str, file: str, revision: str | None) -> str | None:
    """Return the path of a file of a model, from its folder, the cache or the Hub; None where the model has none.

    Args:
        hub: the module transformers.utils.hub.
        name: folder or Hub id of the model.
        file: name of the file.
        revision: commit, tag or branch on the Hub.

    Raises:
        OSError: the model does not exist, or the Hub does not answer.
    """
    found: str | None = hub.cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
    return found


def number_in_storage(trial: Any) -> int:
    """Return the number of an Optuna trial in the study's storage."""
    return int(trial._trial_id)


def default_http_client() -> Any:
    """Return the default HTTP client of huggingface_hub."""
    from huggingface_hub.utils._http import default_client_factory

    return default_client_factory()


def open_progress_bars(tqdm: Any) -> list[Any]:
    """Return the progress bars that are still drawn, the newest first.

    Args:
        tqdm: the class.
    """
    return sorted(getattr(tqdm, "_instances", ()), key=lambda bar: bar.pos)


def projections_of_osf(layer: Any, name: str) -> tuple[Any, Any]:
    """Return the two functions that a split layer of PEFT applies to the gradients of U_low and V_low, in this order.

    Each removes from a matrix what lies along the frozen directions, and keeps its shape and dtype.
    """
    trained = layer.osf_svd_params[name]
    hooks = (tuple(trained[part]._backward_hooks.values()) for part in ("U_low", "V_low"))
    (left,), (right,) = hooks
    return left, right


DPO_TRAINER_METHOD = {"_prepare_dataset": ["self", "dataset", "processing_class", "args", "dataset_name"]}


def without_encoding(trainer: Any) -> Any:
    """Return TRL's DPOTrainer for data sets of token ids: it would encode prompt and completion as one text."""
    return type("EncodedDPOTrainer", (trainer,), {"_prepare_dataset": lambda self, dataset, *rest: dataset})
