"""The three small models of earlier studies, at full size with random weights: one sweep each.

Shapes, memory and time are those of the real ones; no number here says anything about language.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# As their config.json on the Hub has them.
CONFIGS = {
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024,
             "vocab_size": 50257},
    "gpt_neox": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                 "num_attention_heads": 12, "max_position_embeddings": 2048,
                 "vocab_size": 50304, "use_parallel_residual": True,
                 "rope_parameters": {"rope_type": "default", "rope_theta": 10000,
                                     "partial_rotary_factor": 0.25}},
    "gpt_neo": {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "window_size": 256,
                "attention_types": [[["global", "local"], 6]], "max_position_embeddings": 2048,
                "vocab_size": 50257},
}  # fmt: skip
PARAMETERS = {"gpt2": 124_439_808, "gpt_neox": 162_322_944, "gpt_neo": 125_198_592}

SWEEP = """
import json, resource, sys, time
import torch, transformers
from tiny import profile, text, tiny_emotion, tokenizer
from emolib.engine import hooked
from emolib.models.encoding import Prompts
from emolib.inputs.heads import all_heads
from emolib.interventions import zero
from emolib.models.language_model import LanguageModel
from emolib.methods.study import Study
from emolib.methods.screening import screen
from emolib.tracing import OwnTrace

torch.set_num_threads(1)
torch.manual_seed(0)
name, fields = sys.argv[1], json.loads(sys.argv[2])
config = transformers.AutoConfig.for_model(name, bos_token_id=None, eos_token_id=0, **fields)
hf = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
model = LanguageModel(hf, tokenizer(), name)
found = {"parameters": hf.num_parameters(), "shape": [model.n_layers, model.n_heads]}
built = time.monotonic()
study = Study(model, tiny_emotion(8), profile(verify=1))
screening = screen(study)
found["screening_s"] = time.monotonic() - built
found["sizes"] = {key: list(table.shape) for key, table in screening.pairs.items()}
found["finite"] = all(bool((table == table).all()) for table in screening.pairs.values())
found["heads_that_score"] = int((abs(screening.pairs["atp_ig"]).mean(0) > 0).sum())
few = model.encode([text(10, 11, 12), text(20, 21)])
begun, clean = time.monotonic(), hooked.last_logits(model, few)
moved = [float((hooked.last_logits(model, few, [zero(head)]) - clean).abs().max())
         for head in all_heads(12, 12)]
found["ablation_s"] = time.monotonic() - begun
found["heads_that_move"] = sum(change > 1e-4 for change in moved)
if name == "gpt_neo":
    long = Prompts(("",), (tuple(1 + i % 46 for i in range(300)),))
    (batch,) = long.batches(1, 0, "cpu")
    for layer in (0, 1):
        with torch.no_grad(), OwnTrace(hf, model.arch.attn_path(layer), stop=True) as trace:
            hooked.forward(model, batch)
        found[f"keys_{layer}"] = int((trace.output[1][0, 0, -1] > 0).sum())
found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", CONFIGS)
def test_one_sweep_at_full_size(model_type, record_property):
    """About 15 s of one core and 1.2 GB each."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SWEEP, model_type, json.dumps(CONFIGS[model_type])]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("screening_s", "ablation_s", "peak_mb"):
        record_property(name, round(found[name], 1))
    print({name: round(found[name], 1) for name in ("screening_s", "ablation_s", "peak_mb")})
    assert found["parameters"] == PARAMETERS[model_type]
    assert found["shape"] == [12, 12]
    assert set(map(tuple, found["sizes"].values())) == {(8, 144)} and found["finite"]
    assert found["heads_that_score"] == found["heads_that_move"] == 144
    if model_type == "gpt_neo":
        # Global and local layers take turns.
        assert (found["keys_0"], found["keys_1"]) == (300, 256)
    # Weights, one copy, and what a sweep of 8 pairs holds.
    assert found["peak_mb"] < 2500
