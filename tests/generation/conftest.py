"""Small models of the architectures that generation is tested with."""

import pytest


@pytest.fixture(params=["llama", "qwen2", "phi", "codegen", "starcoder2"])
def model(request):
    import torch
    import transformers

    from tests.support.decoding import CONFIGS

    torch.manual_seed(1)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]).eval()
