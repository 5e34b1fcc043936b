"""What codefit uses of libraries without their promise is still there; an upgrade that took it is named."""

import argparse
import inspect

import optuna
import peft
import pytest
import torch
import tqdm
import transformers

from codefit import cli, private_apis
from codefit.generation import kv_cache
from codefit.training import callbacks, scratch
from codefit.training.trainer import CodeTrainer


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


@pytest.mark.parametrize(("name", "arguments"), private_apis.TRAINER_METHODS.items())
def test_the_trainer_has_what_ours_overrides_or_calls(name, arguments):
    method = of(f"Trainer.{name}", lambda: getattr(transformers.Trainer, name))
    assert [*inspect.signature(method).parameters] == arguments, (
        f"{name} takes other arguments: see training/trainer.py"
    )


def own_private_names(kind):
    return {name for name in vars(kind) if name.startswith("_") and not name.startswith(("__", "_abc_"))}


@pytest.mark.parametrize(
    ("ours", "theirs", "meant"),
    [
        (CodeTrainer, transformers.Trainer, {"_get_grad_norm", "_run_epoch", "_save_checkpoint"}),
        (callbacks.Narrator, transformers.ProgressCallback, set()),
        (scratch.Muon, torch.optim.Muon, set()),
        (scratch.MuonWithAdamW, torch.optim.Optimizer, set()),
        (kv_cache.ReservedLayer, transformers.cache_utils.DynamicLayer, set()),
        (cli.Parser, argparse.ArgumentParser, set()),
    ],
)
def test_our_private_names_hide_none_of_a_library(ours, theirs, meant):
    """A name that a later version uses for something else would change what it does, and nobody would see it."""
    assert own_private_names(ours) & {*dir(theirs)} == meant


def test_the_sums_of_losses_of_a_trainer_are_continued(tmp_path):
    """Two steps that go on from the sums of two others report the mean loss of all four."""

    def trained(sums=None):
        torch.manual_seed(0)
        options = transformers.TrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, max_steps=2, save_strategy="no", report_to=[], learning_rate=1e-9
        )
        trainer = transformers.Trainer(model=Square(), args=options, train_dataset=[{"x": torch.ones(1)}] * 32)
        if sums:
            continues = transformers.TrainerCallback()
            continues.on_train_begin = lambda *_, **__: private_apis.continue_losses(trainer, sums)
            trainer.add_callback(continues)
        return trainer, trainer.train().training_loss

    trainer, alone = trained()
    sums = of("Trainer._tr_loss", lambda: private_apis.sums_of_losses(trainer))
    assert {*sums} == {"since_log", "logged", "step"}
    earlier = {"since_log": 0.0, "logged": 10.0, "step": 0}
    _, both = trained(earlier)
    assert both == pytest.approx(alone + 10.0 / 2, rel=1e-4)


class Square(torch.nn.Module):
    """A model whose loss is its weight's square."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        return {"loss": (self.weight**2 * x).mean()}


def test_a_file_of_a_model_may_be_absent(tiny_base):
    there = of("cached_file(_raise_exceptions_for_missing_entries)", lambda: find(tiny_base, "config.json"))
    assert there == str(tiny_base / "config.json")
    assert find(tiny_base, "model.safetensors.index.json") is None


def find(folder, name):
    return private_apis.file_if_there(transformers.utils.hub, str(folder), name, None)


def test_the_progress_bars_that_are_open(capsys):
    bars = [tqdm.tqdm(range(3)), tqdm.tqdm(range(3))]
    assert hasattr(tqdm.tqdm, "_instances"), "this version has no tqdm._instances; find a new way in private_apis.py"
    assert set(private_apis.open_progress_bars(tqdm.tqdm)) >= set(bars)
    for bar in bars:
        bar.close()
    assert not set(private_apis.open_progress_bars(tqdm.tqdm)) & set(bars)


def test_the_projections_of_a_split_layer():
    layer = torch.nn.Sequential(torch.nn.Linear(4, 8))
    split = peft.get_peft_model(layer, peft.OSFConfig(target_modules=["0"], effective_rank=2)).base_model.model[0]
    left, right = of("hooks on OSF's parameters", lambda: private_apis.projections_of_osf(split, "default"))
    assert left(torch.ones(8, 2)).shape == (8, 2)
    assert right(torch.ones(2, 4)).shape == (2, 4)


def test_the_method_of_the_preference_trainer():
    trl = pytest.importorskip("trl")
    for name, parameters in private_apis.DPO_TRAINER_METHOD.items():
        found = of(f"DPOTrainer.{name}", lambda name=name: getattr(trl.DPOTrainer, name))
        assert list(inspect.signature(found).parameters) == parameters
    dataset = object()
    assert private_apis.without_encoding(trl.DPOTrainer)._prepare_dataset(None, dataset, None, None, "train") is dataset
