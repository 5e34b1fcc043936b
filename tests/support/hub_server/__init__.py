"""A small Hub on the loopback interface, for tests: it speaks what `huggingface_hub` speaks when it pushes and fetches.

    with HubServer() as hub:
        hub.faults.append(Fault("POST .*/commit/", status=503))
        subprocess.run([...], env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN})
        assert hub.files("model", "tester/kotlin-phi")["README.md"] == b"..."

It has no git, no pull requests and no pages of results; it keeps everything in memory.
"""

from tests.support.hub_server.server import Fault, HubServer
from tests.support.hub_server.store import READ_TOKEN, WRITE_TOKEN
from tests.support.hub_server.xet import XET_TOKEN

__all__ = ["READ_TOKEN", "WRITE_TOKEN", "XET_TOKEN", "Fault", "HubServer"]
