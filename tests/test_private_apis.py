"""What codefit uses of libraries without their promise is still there; an upgrade that took it is named."""

import argparse

import optuna
import pytest
import torch
import transformers

from codefit import private_apis


def of(what, use):
    """Return what a use gives. A failure names the thing that codefit needs a new way for."""
    try:
        return use()
    except (AttributeError, ImportError, TypeError) as error:
        pytest.fail(f"this version has no {what} any more ({error}); find a new way in codefit/private_apis.py")


@pytest.fixture
def parser():
    found = argparse.ArgumentParser(formatter_class=private_apis.HelpFormatter)
    found.add_argument_group("numbers").add_argument("--steps", "-s", type=int, default=3, help="how many")
    found.add_argument("--names", nargs="+", default=["a", "b"], help="which")
    found.add_argument("--quiet", action="store_true", help="say nothing")
    return found


def test_the_flags_of_a_parser(parser):
    actions = of("argparse.ArgumentParser._actions", lambda: private_apis.actions_of(parser))
    assert [action.dest for action in actions] == ["help", "steps", "names", "quiet"]


def test_the_groups_of_a_parser(parser):
    groups = of("argparse.ArgumentParser._action_groups", lambda: private_apis.groups_of(parser))
    assert [action.dest for action in groups["numbers"]] == ["steps"]


def test_help_shows_defaults_that_are_values(parser):
    text = of("argparse.HelpFormatter._get_help_string", parser.format_help)
    assert "how many (default: 3)" in text
    assert "which (default: a b)" in text
    assert "say nothing\n" in text


def test_the_attention_of_a_model(tiny_base):
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_base, attn_implementation="eager")
    assert of("PreTrainedConfig._attn_implementation", lambda: private_apis.attention_of(model)) == "eager"
    model.set_attn_implementation("sdpa")
    assert private_apis.attention_of(model) == "sdpa"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_two_views_have_one_storage_and_two_tensors_have_two(device):
    one, other = torch.zeros(4, device=device), torch.zeros(4, device=device)
    number = of("torch.UntypedStorage._cdata", lambda: private_apis.storage_number(one))
    assert private_apis.storage_number(one[1:]) == number != private_apis.storage_number(other)


def test_a_trainer_can_be_told_to_use_one_gpu(tmp_path):
    options = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert options.n_gpu in (0, 1)
    options._n_gpu = 4
    assert options.n_gpu == 4, "TrainingArguments.n_gpu does not follow _n_gpu any more"
    private_apis.use_one_gpu(options)
    assert options.n_gpu == 1


def test_a_trial_that_was_stopped_is_taken_up_again():
    study = optuna.create_study()
    asked = study.ask()
    kept = study.get_trials(deepcopy=False)[0]
    number = of("optuna.trial.FrozenTrial._trial_id", lambda: private_apis.number_in_storage(kept))
    optuna.trial.Trial(study, number).suggest_int("x", 1, 1)
    study.tell(asked, 1.0)
    assert study.best_params == {"x": 1}


def test_the_http_client_of_the_hub():
    client = of("huggingface_hub.utils._http.default_client_factory", private_apis.default_http_client)
    assert {"request", "response"} >= set(client.event_hooks)
    client.close()


@pytest.mark.parametrize("name", ["_save_checkpoint", "_prepare_inputs"])
def test_the_trainer_has_what_ours_overrides_or_calls(name):
    assert callable(getattr(transformers.Trainer, name, None)), (
        f"Trainer has no {name} any more: see training/trainer.py"
    )
