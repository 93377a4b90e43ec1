import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest


class Server:
    """Exports as they are served, in a process that has no code of ours."""

    def __init__(self, rest, grpc):
        self.rest, self.grpc = rest, grpc

    def get(self, path):
        with urlopen(f"http://localhost:{self.rest}/v1/models/{path}") as response:
            return json.load(response)

    def predict(self, model, **request):
        """The status code and the answer to a predict request."""
        url = f"http://localhost:{self.rest}/v1/models/{model}:predict"
        try:
            with urlopen(Request(url, json.dumps(request).encode())) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            return error.code, json.load(error)


@contextlib.contextmanager
def serving(**models):
    """Context with a `Server` of base paths by model name."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "KERAS_BACKEND")}
    process = subprocess.Popen(
        [sys.executable, "-P", Path(__file__).with_name("served.py"), *(f"{k}={v}" for k, v in models.items())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Server(**json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """Dict of name to (model, base path of its export for serving)."""
    from budgetbert.export.serving import export_serving

    from .models import classifier, finetuned, masked

    models = {
        "classifier": finetuned(),
        "pair": classifier(family="tiny_bert", pair=True),
        "regression": classifier(family="tiny_crammed", num_classes=1),
        "masked_lm": masked(),
    }
    folder = tmp_path_factory.mktemp("serving")
    for name, model in models.items():
        export_serving(model, str(folder / name))
    return {name: (model, folder / name) for name, model in models.items()}


@pytest.fixture(scope="session")
def server(exports):
    with serving(**{name: path for name, (_, path) in exports.items()}) as running:
        yield running
