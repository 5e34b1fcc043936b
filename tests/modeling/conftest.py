"""What several tests of models share."""

import pytest
import torch
import transformers

from tests.support.training import SHAPE, SIZE


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A folder with a Llama of random weights whose layers are wider than the rank of an adapter."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    config = transformers.LlamaConfig(**SHAPE, **(SIZE | {"hidden_size": 64, "intermediate_size": 128}))
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
