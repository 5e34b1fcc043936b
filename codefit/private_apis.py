"""All uses of private APIs of libraries, for which there is no public alternative; each has its own test.

Libraries are passed in, not imported, so that code without torch stays without it. If an upgrade removes one of these
APIs, tests/test_private_apis.py fails and says what it was for.
"""

import argparse
from typing import Any


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the docstring's layout, and show every default that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str:
        help_text = action.help or ""
        valueless = any(action.default is value for value in (None, False, argparse.SUPPRESS))
        if valueless or "(default" in help_text:
            return help_text
        if isinstance(action.default, list):
            return f"{help_text} (default: {' '.join(map(str, action.default))})"
        return help_text + " (default: %(default)s)"


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


def number_in_storage(trial: Any) -> int:
    """Return the number of an Optuna trial in the study's storage."""
    return int(trial._trial_id)


def default_http_client() -> Any:
    """Return the default HTTP client of huggingface_hub."""
    from huggingface_hub.utils._http import default_client_factory

    return default_client_factory()
