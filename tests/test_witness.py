"""TransformerLens as a witness: what emolib measures, measured again by somebody else's code.

Its bridge reads weights and tokenizer from disk by itself and edits, reads and differentiates
through its own hooks; of emolib it gets nothing but the prompts and the targets as text. It runs
one prompt at a time without padding, where emolib runs them all in one padded batch and, at the
last token, on stored keys and values. The bridge is left in its raw mode: compatibility mode folds
norms into weights and centres logits.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
import transformers
from tiny import crossed, profile, tiny_emotion, tokenizer

from emolib.inputs.emotions import load_emotion
from emolib.inputs.heads import HeadSet, all_heads
from emolib.inputs.profiles import load_profile
from emolib.inputs.targets import Stream
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import patch, shift, steer, zero
from emolib.methods.attribution import attribution_scores
from emolib.methods.paths import head_paths
from emolib.methods.repair import self_repair
from emolib.methods.steering import directions
from emolib.methods.study import Study
from emolib.methods.unit_scores import unit_scores
from emolib.models import loading, sources

bridges = pytest.importorskip(
    "transformer_lens.model_bridge",
    reason="the witness is TransformerLens, of the extra: pip install 'emolib[witness]'",
)

LOGITS = 1e-4
"""How far the two may be apart, in logits."""
RANDOM = "random-gpt2"
WHERE = {"last": slice(-1, None), "all": slice(None)}
SIDES = {"denoise": ("neutral", "emotion"), "noise": ("emotion", "neutral")}
SITES = {"heads": "attn.hook_z", "units": "mlp.hook_post", "streams": "hook_resid_post"}

everywhere = pytest.mark.parametrize("position", WHERE)


class Witness:
    """A model under TransformerLens, asked about one prompt at a time."""

    def __init__(self, folder):
        self.bridge = bridges.TransformerBridge.boot_transformers(str(folder), device="cpu")

    def ids(self, text):
        return self.bridge.to_tokens(text, prepend_bos=False)

    def word_ids(self, words):
        """Give the ids of the words that are one token in mid-sentence."""
        ids = [self.ids(f" {word}")[0].tolist() for word in words]
        return sorted({first for first, *rest in ids if not rest})

    def hooks(self, hook, kind):
        layers = range(self.bridge.cfg.n_layers)
        return [(f"blocks.{layer}.{SITES[kind]}", hook) for layer in layers]

    def read(self, text, kind):
        """Give per layer what goes into the projection, ``[1, seq, heads, d_head]`` of heads."""
        names = [name for name, _ in self.hooks(None, kind)]
        with torch.no_grad():
            _, found = self.bridge.run_with_cache(self.ids(text), names_filter=names)
        return [found[name] for name in names]

    def logits(self, text, targets=(), position="last", values=None):
        """Give the last logits with `targets` at zero, or at their place in `values`."""

        def edit(z, hook):
            layer, z = hook.layer(), z.clone()
            for target in targets:
                if target.layer == layer:
                    place = (0, WHERE[position], target.index)
                    z[place] = 0 if values is None else values[layer][place]
            return z

        kind = "units" if any(isinstance(target, Unit) for target in targets) else "heads"
        hooks = self.hooks(edit, kind) if targets else []
        with torch.no_grad():
            return self.bridge.run_with_hooks(self.ids(text), fwd_hooks=hooks)[0, -1]

    def steered(self, text, vectors, position="last"):
        """Give the last logits with vectors added: by ``(layer, head)``, or ``(layer, None)``."""

        def edit(values, hook):
            values = values.clone()
            for (layer, head), vector in vectors.items():
                if layer == hook.layer():
                    place = (0, WHERE[position], *(() if head is None else (head,)))
                    values[place] += vector
            return values

        kind = "streams" if (None in {head for _, head in vectors}) else "heads"
        with torch.no_grad():
            return self.bridge.run_with_hooks(self.ids(text), fwd_hooks=self.hooks(edit, kind))[
                0, -1
            ]

    def held(self, text, clean, values=None, sender=None, inputs=()):
        """Give the last logits with every head at `clean`, but one at `values`; None zeroes it.

        Beside them what some hooks saw, among them z of heads before they were held.
        """
        seen = {}

        def hold(z, hook):
            seen[f"blocks.{hook.layer()}.{SITES['heads']}"] = z.clone()
            if hook.layer() < sender.layer:
                return z
            z = clean[hook.layer()].clone()
            if hook.layer() == sender.layer:
                own = 0 if values is None else values[hook.layer()][:, :, sender.index]
                z[:, :, sender.index] = own
            return z

        def see(name):
            return lambda value, hook: seen.update({name: value.clone()})

        hooks = [*self.hooks(hold, "heads"), *((name, see(name)) for name in inputs)]
        with torch.no_grad():
            return self.bridge.run_with_hooks(self.ids(text), fwd_hooks=hooks)[0, -1], seen

    def reading(self, text, head, hook, values):
        """Give the last logits with what is one head's at a hook as it is in `values`."""

        def edit(value, hook):
            value = value.clone()
            value[:, :, head.index] = values[:, :, head.index]
            return value

        with torch.no_grad():
            return self.bridge.run_with_hooks(self.ids(text), fwd_hooks=[(hook, edit)])[0, -1]

    def slopes(self, text, kind, up, down):
        """Give per layer the gradient of mean logit of `up` less that of `down`."""
        found = {}

        def keep(gradient, hook):
            found[hook.layer()] = gradient.detach().clone()

        with torch.enable_grad(), self.bridge.hooks(bwd_hooks=self.hooks(keep, kind)):
            logits = self.bridge(self.ids(text))[0, -1]
            (logits[up].mean() - logits[down].mean()).backward()
        self.bridge.zero_grad()
        return [found[layer] for layer in sorted(found)]


# The one drawn at random is a GPT-2 too.
GPT2 = pytest.param("tiny-gpt2", marks=pytest.mark.slow)


@pytest.fixture(
    scope="module",
    params=[*(GPT2 if name == "tiny-gpt2" else name for name in sources.embedded_names()), RANDOM],
)
def folder(request, tmp_path_factory):
    """Give where a model is: each embedded one, and a GPT-2 drawn at random."""
    if request.param != RANDOM:
        return sources.find(request.param).folder
    folder = tmp_path_factory.mktemp("models") / RANDOM
    config = transformers.GPT2Config(
        vocab_size=48, n_embd=32, n_layer=3, n_head=4, n_inner=40, n_positions=64,
        initializer_range=0.3, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = transformers.GPT2LMHeadModel(config)
        for name, parameter in hf.named_parameters():
            # Which transformers begins at 0, where a bias that is lost would not show.
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.3)
    hf.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def witness(folder):
    return Witness(folder)


@pytest.fixture(scope="module")
def study_at(folder):
    """Give a function from a position to emolib's study of the same model."""
    model = loading.load(sources.find(str(folder)))
    emotion = tiny_emotion(4)
    if folder.name != RANDOM:
        emotion = load_emotion(load_profile("demo"), "gratitude")
        # The shortest and the longest: padding, and GPT-Neo's window of 16 tokens.
        by_length = sorted(emotion.pairs, key=lambda pair: len(pair.text("emotion").split()))
        emotion = dataclasses.replace(emotion, pairs=(*by_length[:2], *by_length[-2:]))
    return cache(lambda position: Study(model, emotion, profile(position=position)))


def texts(study, side):
    return [pair.text(side) for pair in study.pairs.pairs]


def sets_of(kind, study):
    """Give every head alone, or units from all over, and sets within and across layers."""
    layers, heads, units = study.model.n_layers, study.model.n_heads, study.model.n_units
    if kind == "heads":
        alone = all_heads(layers, heads)
        joint = [alone[:2], alone[heads - 1 :: heads], alone]
        return [HeadSet(tuple(chosen)) for chosen in (*([head] for head in alone), *joint)]
    alone = [Unit(layer, (7 + 13 * layer) % units) for layer in range(layers)]
    joint = [
        [Unit(1, index) for index in range(0, units, 3)],
        alone,
        [Unit(layer, index) for layer in range(layers) for index in range(units)],
    ]
    return [UnitSet(tuple(chosen)) for chosen in (*([unit] for unit in alone), *joint)]


def check(found, expected, clean=0.0, moved=0.1):
    """Check that found is what the witness says, and that there was something to find."""
    found, expected = (np.asarray(values, dtype=float) for values in (found, expected))
    assert found.shape == expected.shape
    apart, most = np.abs(found - expected).max(), np.abs(expected - clean).max()
    # Shown when it fails, and by pytest -rP.
    print(f"apart {apart:.1e} logits, moved {most:.1e}")
    assert apart < LOGITS
    assert most > moved


def test_both_read_the_same_tokens_and_logits(witness, study_at):
    study = study_at("last")
    assert len({len(ids) for ids in study.prompts().ids}) > 1
    for side in ("emotion", "neutral"):
        rows = [witness.ids(text)[0].tolist() for text in texts(study, side)]
        assert rows == [list(ids) for ids in study.prompts(side).ids]
        for position in WHERE:
            found = study_at(position).run(on=side).logits[0]
            check(found, torch.stack([witness.logits(text) for text in texts(study, side)]))
    lexicons = (study.emotion.lexicon, study.emotion.neutral)
    ids = [witness.word_ids(lexicon.targets) for lexicon in lexicons]
    assert ids == [chosen.tolist() for chosen in study.targets]


@crossed(kind=["heads", "units"], position=WHERE)
def test_zeroed(witness, study_at, kind, position):
    study = study_at(position)
    prompts, sets = texts(study, "emotion"), sets_of(kind, study)
    found = [study.run(zero(chosen)).logits[0].numpy() for chosen in sets]
    expected = [[witness.logits(text, chosen, position) for text in prompts] for chosen in sets]
    clean = [witness.logits(text) for text in prompts]
    check(found, expected, clean)


@crossed(kind=["heads", "units"], position=WHERE, direction=SIDES)
def test_patched(witness, study_at, kind, position, direction):
    study, (side, other) = study_at(position), SIDES[direction]
    prompts, sets = texts(study, side), sets_of(kind, study)
    values = [witness.read(text, kind) for text in texts(study, other)]
    found, expected = [], []
    for chosen in sets:
        run = study.run(patch(chosen, study.activations(other, chosen)), on=side)
        found.append(run.logits[0].numpy())
        pairs = zip(prompts, values, strict=True)
        expected.append([witness.logits(text, chosen, position, z) for text, z in pairs])
    check(found, expected, [witness.logits(text) for text in prompts])


@everywhere
def test_steered(witness, study_at, position):
    """Directions that the witness reads itself, added by it, beside emolib's."""
    study = study_at(position)
    sides = {side: texts(study, side) for side in ("emotion", "neutral")}

    def difference(kind):
        """Give per layer emotion less neutral at the last token, ``[heads, d_head]`` of heads."""
        means = []
        for prompts in sides.values():
            read = [witness.read(text, kind) for text in prompts]
            means.append([torch.stack([one[layer][0, -1] for one in read]).mean(0)
                          for layer in range(study.model.n_layers)])  # fmt: skip
        return [emotion - neutral for emotion, neutral in zip(*means, strict=True)]

    ours, streams, z = directions(study), difference("streams"), difference("heads")
    check(ours.streams, torch.stack(streams))
    check([[ours.z[head].numpy() for head in study.model.heads]],
          [torch.cat(z).numpy()], moved=0.01)  # fmt: skip
    clean = [witness.logits(text) for text in sides["neutral"]]
    heads = study.model.heads[1:6]
    for alpha in (-2, 0.5, 1):
        for layer in range(study.model.n_layers):
            run = study.run(steer(Stream(layer), ours.streams[layer], alpha), on="neutral")
            added = {(layer, None): alpha * streams[layer]}
            expected = [witness.steered(text, added, position) for text in sides["neutral"]]
            check(run.logits[0], torch.stack(expected), clean, moved=0.02)
        run = study.run(shift(heads, ours.z, alpha), on="neutral")
        added = {(head.layer, head.index): alpha * z[head.layer][head.index] for head in heads}
        expected = [witness.steered(text, added, position) for text in sides["neutral"]]
        check(run.logits[0], torch.stack(expected), clean, moved=0.01)


@crossed(kind=["heads", "units"], position=WHERE, direction=SIDES)
def test_attribution_patching(witness, study_at, kind, position, direction):
    study, (side, other) = study_at(position), SIDES[direction]
    lexicons = (study.emotion.lexicon, study.emotion.neutral)
    targets = [witness.word_ids(lexicon.targets) for lexicon in lexicons]
    expected = []
    for pair in study.pairs.pairs:
        here, there = (witness.read(pair.text(name), kind) for name in (side, other))
        slopes = witness.slopes(pair.text(side), kind, *targets)
        row = []
        for z, towards, slope in zip(here, there, slopes, strict=True):
            score = ((towards - z) * slope)[0, WHERE[position]].sum(0)
            row.append(score.sum(-1) if kind == "heads" else score)
        expected.append(torch.cat(row).numpy())
    scores = attribution_scores(study) if kind == "heads" else unit_scores(study).pairs
    check(scores[f"atp_{direction}"], expected, moved=0.02)


def diff(logits, study):
    """Give the metric of logits."""
    up, down = study.targets
    return float(logits[up].mean() - logits[down].mean())


def test_direct_effects(witness, study_at):
    """Of zeroing each head with all others held at their clean z, at every token."""
    study = study_at("all")
    prompts = texts(study, "emotion")
    clean = [(witness.read(text, "heads"), witness.logits(text)) for text in prompts]
    found, expected = [], []
    for head in all_heads(study.model.n_layers, study.model.n_heads):
        found.append(self_repair(study, zero(head)).direct)
        runs = [witness.held(text, z, sender=head)[0]
                for text, (z, _) in zip(prompts, clean, strict=True)]  # fmt: skip
        expected.append([diff(run, study) - diff(logits, study)
                         for run, (_, logits) in zip(runs, clean, strict=True)])  # fmt: skip
    check(found, expected)


@pytest.mark.parametrize(
    "folder",
    [pytest.param(name, marks=pytest.mark.slow if name in ("tiny-gpt2", "tiny-neo") else ())
     for name in (*sources.embedded_names(), RANDOM)],
    indirect=True,
)  # fmt: skip
def test_path_patching(witness, study_at):
    """By queries, keys and values the witness edits what its own attention is given."""
    study = study_at("last")
    heads = all_heads(study.model.n_layers, study.model.n_heads)
    heads = [*heads[:: study.model.n_heads], *heads[2 :: study.model.n_heads]]
    paths = [one for one in head_paths(study, heads) if one.effect is not None]
    sites = {"q": "attn.hook_q", "k": "attn.hook_k", "v": "attn.hook_v", "all": SITES["heads"]}
    expected = []
    for pair in study.pairs.pairs:
        emotion, neutral = (pair.text(side) for side in ("emotion", "neutral"))
        values, clean = (witness.read(text, "heads") for text in (emotion, neutral))
        before, runs, row = diff(witness.logits(neutral), study), {}, []
        names = [f"blocks.{layer}.{site}" for layer in range(study.model.n_layers)
                 for site in sites.values() if site != SITES["heads"]]  # fmt: skip
        for one in paths:
            if one.sender not in runs:
                runs[one.sender] = witness.held(neutral, clean, values, one.sender, names)
            logits, seen = runs[one.sender]
            if one.receiver is not None:
                hook = f"blocks.{one.receiver.layer}.{sites[one.input]}"
                logits = witness.reading(neutral, one.receiver, hook, seen[hook])
            row.append(diff(logits, study) - before)
        expected.append(row)
    assert {one.input for one in paths} == {"all", "q", "k", "v"}
    check([one.effect for one in paths], np.transpose(expected))
