"""What the tests share: no network, few threads, and models that are loaded once."""

from __future__ import annotations

import os

# Before torch and huggingface_hub are imported, which read them then.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# A machine that runs other things besides is slow, not wrong.
settings.register_profile("emolib", deadline=None)
settings.load_profile("emolib")

EMBEDDED = ("tiny-gpt2", "tiny-neo", "tiny-neox")


@pytest.fixture(scope="session")
def load():
    """Give a function that loads an embedded model, each once."""
    from functools import cache

    from emolib.models import loading, sources

    return cache(lambda name: loading.load(sources.find(name)))


@pytest.fixture(params=EMBEDDED)
def embedded(request, load):
    """Give each of the embedded models."""
    return load(request.param)


@pytest.fixture(scope="session")
def planted():
    """Give the planted model in float64."""
    from emolib.planted import planted_model

    return planted_model()


@pytest.fixture(scope="session")
def gratitude():
    """Give a few of the project's gratitude pairs, of several lengths."""
    import dataclasses

    from emolib.inputs.emotions import load_emotion
    from emolib.inputs.profiles import load_profile

    emotion = load_emotion(load_profile("demo"), "gratitude")
    return dataclasses.replace(emotion, pairs=emotion.pairs[:12])


@pytest.fixture(autouse=True)
def _metrics_are_the_test_s_own(monkeypatch):
    """Metrics that a test registers, itself or in a run inside this process, go with it."""
    from emolib.methods import own_metrics

    monkeypatch.setattr(own_metrics, "_registered", {})
