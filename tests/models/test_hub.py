"""Models named by their Hub id, with a Hub of our own on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emolib.files import data_root
from emolib.inputs.profiles import load_profile
from emolib.models.sources import embedded_names

COMMIT = "1" * 40
ID = "some-people/Some-Model"
EMBEDDED = data_root() / "models" / "tiny-gpt2"
FILES = {path.name: path.read_bytes() for path in EMBEDDED.iterdir() if path.suffix != ".md"}
WAYS_OUT = (
    f"; name an embedded model ({', '.join(embedded_names())}), a local folder or .gguf file, or "
    "download it once where there is a network (`hf download`)"
)


class Hub(ThreadingHTTPServer):
    """Enough of the Hub to serve the files of one repository."""

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.fetched = files, []

    def cached(self, home, *, offline=False, model=ID):
        """Look a model up in another process, with its own cache; give its output or error."""
        port = 9 if offline == "unreachable" else self.server_port
        # Python puts OFFLINE's own value first, so both ways of having no network are tried.
        environment = os.environ | {
            "HF_HOME": str(home),
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HUB_OFFLINE": "1" if offline is True else "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "no_proxy": "127.0.0.1",
        }
        code = (
            "from emolib.errors import InputError\nfrom emolib.models.sources import find\n"
            f"try: print(find({model!r}))\nexcept InputError as error: print(error)"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()


class Answer(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/api/") and "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": oid(content)}
                for name, content in self.server.files.items()
            ]
            self.send(json.dumps(entries).encode(), "application/json")
        elif path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in self.server.files]
            about = {"id": ID, "sha": COMMIT, "siblings": siblings}
            self.send(json.dumps(about).encode(), "application/json")
        elif (name := path.rpartition("/")[2]) in self.server.files:
            if self.command == "GET":
                self.server.fetched.append(name)
            self.send(self.server.files[name], "application/octet-stream")
        else:
            self.send(b"", "text/plain", 404)

    def send(self, content, kind, status=200):
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{oid(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def oid(content):
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub():
    """Give a Hub with an embedded model."""
    server = Hub(dict(FILES))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_model_is_downloaded_once_with_safetensors_alone(hub, tmp_path):
    for name in ("pytorch_model.bin", "model.fp16.safetensors", "consolidated.safetensors",
                 "modeling_own.py", "tf_model.h5"):  # fmt: skip
        hub.files[name] = b"no use"
    found = hub.cached(tmp_path)
    assert found.startswith(f"Source(name='Some-Model', id='{ID}', ")
    assert "model_type='gpt2', n_layers=4, n_heads=4" in found
    assert hub.fetched[0] == "config.json"
    assert {"model.safetensors", "tokenizer.json"} <= set(hub.fetched) <= set(FILES)
    fetched = list(hub.fetched)
    assert hub.cached(tmp_path, offline=True) == found
    assert hub.cached(tmp_path, offline="unreachable") == found
    assert hub.fetched == fetched


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model_type": "unheard_of"}, "unknown architecture 'unheard_of'; expected one of "),
     ({"n_head": 0}, "/config.json: n_head: expected a whole number from 1, got 0")],
)  # fmt: skip
def test_a_model_that_cannot_be_used_is_not_downloaded(hub, tmp_path, change, message):
    hub.files["config.json"] = json.dumps(json.loads(FILES["config.json"]) | change).encode()
    error = hub.cached(tmp_path)
    assert error.startswith(f"model '{ID}': ") and message in error and "\n" not in error
    assert hub.fetched == ["config.json"]


def test_a_model_without_safetensors_is_told_how_to_convert_it(hub, tmp_path):
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    error = hub.cached(tmp_path)
    assert error.startswith(f"model '{ID}': no model.safetensors in ")
    assert error.endswith(
        "; only safetensors are loaded, nothing is unpickled: convert the weights with "
        "save_pretrained, or with https://huggingface.co/spaces/safetensors/convert"
    )
    assert "pytorch_model.bin" not in hub.fetched


def test_a_repository_of_gguf_files_is_told_so(hub, tmp_path):
    del hub.files["config.json"]
    assert hub.cached(tmp_path) == (
        f"model '{ID}': has no config.json on the Hub (of a repository of GGUF files, download "
        f"one){WAYS_OUT}"
    )


@pytest.mark.parametrize("offline", [True, "unreachable"])
def test_what_is_not_there_is_told_without_a_network(hub, tmp_path, offline):
    unreachable = "its weights are not in the local cache and the Hub cannot be reached"
    message = f"model '{ID}': {unreachable}{WAYS_OUT}"
    assert hub.cached(tmp_path, offline=offline) == message
    # The configuration alone, as transformers leaves it behind, is not the model.
    weights = hub.files.pop("model.safetensors")
    hub.cached(tmp_path)
    hub.files["model.safetensors"] = weights
    for listing in Path(tmp_path).rglob("trees"):
        for file in listing.iterdir():
            file.unlink()
    assert hub.cached(tmp_path, offline=offline) == message


def test_the_profiles_spell_their_models_as_the_hub_does():
    """The cache tells them apart by case."""
    assert load_profile("baseline").models == (
        "gpt2",
        "EleutherAI/pythia-160m",
        "EleutherAI/gpt-neo-125m",
    )
