"""A Hub on the loopback interface, and a folder to push to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import HubServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as running:
        yield running
        assert running.api.unknown == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a stage leaves it, with some things that must stay at home."""
    made = tmp_path / "merged model"
    (made / "checkpoint-5").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (made / "config.json").write_text("{}\n")
    (made / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    for name in ("training_args.bin", "optimizer.pt", "checkpoint-5/model.safetensors"):
        (made / name).write_bytes(b"stays at home")
    return made
