"""Every file that is read, mutated at random: a value, or one line that names it; nothing else.

Mutations are of bytes, and of what the bytes say: values of another kind, members gone, doubled,
renamed, put deeper. Of what goes through transformers and tokenizers, which takes a tenth of a
second, thousands are of the check before it and a few hundred of all of it.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import random
import resource
import shutil
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf_files
import pytest
from campaign import Size, Tally
from mutators import Raw, of_bytes, of_tree, to_json
from stored import ill_said, made, opened, sealed, study

from emolib.errors import InputError
from emolib.files import data_root
from emolib.inputs.profiles import load_profile
from emolib.inputs.prompts import load_lexicon, load_pairs, load_prompts, pairs_emotion
from emolib.inputs.rankings import load_ranking
from emolib.methods.controls import _rare_words
from emolib.models.gguf_header import read_header
from emolib.models.loading import load
from emolib.models.sources import find
from emolib.results import baselines
from emolib.results.events import Recorded, Walk
from emolib.results.grounds import Ground
from emolib.results.item_files import read_attention, read_effects, read_paths, read_scores
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import Segment, member_lines, segments

SECONDS = 3.0
"""What reading one mutated file may take; the largest has 0.4 MB."""
MEMORY = 600_000
"""KB that reading them all may add to what the process ever had."""


@dataclass(frozen=True)
class Loader:
    """Something that reads a file.

    Attributes:
        name: What it reads.
        path: The file, as it is before it is mutated.
        load: Reads it; the file may lie elsewhere.
        tree: What the file says; None where only its bytes are mutated.
        dump: From that to bytes.
        wrong: Gives what is wrong with a value that was read.
        named: What a message may name in the file's place.
    """

    name: str
    path: Path
    load: Callable[[], Any]
    tree: Any = None
    dump: Callable[[Any], bytes] = to_json
    wrong: Callable[[Any], str] = lambda value: ""
    named: tuple[str, ...] = ()


def to_toml(tree: Any) -> bytes:
    """Return a tree as TOML, as far as that has what stands in it."""
    if not isinstance(tree, dict):
        return to_json(tree)
    lines = [f"{_key(name)} = {_inline(value)}" for name, value in tree.items()]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _key(name: str) -> str:
    return json.dumps(name)


def _inline(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(n)} = {_inline(v)}" for n, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def odd(value: Any, depth: int = 0) -> str:
    """Return what is odd about a value that was read: no number, half a character, endless."""
    if depth > 80:
        return "nested without end"
    if isinstance(value, float) and not math.isfinite(value):
        return f"the number {value}"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"half a character in {value!r:.60}"
    if dataclasses.is_dataclass(value):
        value = [getattr(value, one.name) for one in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return next(filter(None, (odd(member, depth + 1) for member in value)), "")
    return ""


def fields_of(kind: str, **fields: type | tuple[type, ...]) -> Callable[[Any], str]:
    """Return what checks that values have fields of these types."""

    def wrong(found: Any) -> str:
        for one in found if isinstance(found, (list, tuple)) else [found]:
            for name, types in fields.items():
                if not isinstance(getattr(one, name), types):
                    return f"{kind}.{name} is {getattr(one, name)!r:.80}"
        return ""

    return wrong


PROFILE = {
    "models": ["tiny-gpt2", "tiny-neo"], "emotions": ["gratitude"], "heads": ["0:1", "top:3"],
    "units": ["top:1"], "ablations": ["zero", "mean"], "position": "last", "max_new_tokens": 4,
    "seed": 3, "draws": 12, "verify": 2, "steering_doses": [0.5, 1.0], "steering_layers": ["50%"],
    "patch_generated": False, "chat": True, "system": "Be kind.", "dtype": "float32",
    "device": "cpu", "batch_size": 8, "circuit_ablation": "mean",
    "files": {"gratitude": {"pairs": "p.toml", "ranking": "p.toml"}},
    "effects": {"gated": {"tiny-gpt2": ["L0H2"]}, "controls": {"tiny-gpt2": ["L2H3"]}},
    "architectures": {"own": {"layers": "h"}},
}  # fmt: skip
_PROFILE = fields_of(
    "profile", models=tuple, emotions=tuple, heads=tuple, position=str, max_new_tokens=int,
    seed=int, chat=bool, patch_generated=bool, dtype=str, device=str, steering_doses=tuple,
    system=(str, type(None)), batch_size=(int, type(None)), verify=(int, str), effects=Mapping,
)  # fmt: skip


def _baseline() -> baselines.Baseline:
    told = Ground("one", "joy", "gpt2", "w", "t", "h", {"dtype": "float32"}, "cpu", 3.0,
                  ("a", "b"), {"torch": "2"}, "abc", "now")  # fmt: skip
    effect = baselines.DeclaredEffect(
        "head_ablation", {"model": "one", "emotion": "joy", "heads": "L0H0"}, "logit_diff", "gated",
        (-1.0, -2.0),
    )  # fmt: skip
    return baselines.Baseline({effect.name: effect}, {told.study: told})


def _ranked(found: Any) -> str:
    heads = found.heads
    inside = all(0 <= h.layer < 2 and 0 <= h.index < 2 for h in heads) and len(set(heads)) == 4
    return "" if inside else f"heads {heads}"


def _scored(found: Any) -> str:
    shape = found["layers"], found["heads_per_layer"]
    return "" if all(type(n) is int and n > 0 for n in shape) else f"a shape of {shape}"


def _rows(found: Any) -> str:
    for row in found:
        if not isinstance(row, Row) or not isinstance(row.values, dict):
            return f"no row: {row!r:.80}"
        if not all(isinstance(text, str) for text in [*row.dims.values(), *row.labels.values()]):
            return "no texts in dims or labels"
        if not all(isinstance(n, (int, float)) for vector in row.vectors.values() for n in vector):
            return "no numbers in vectors"
        for name in row.values:
            if not isinstance(row.mean(name), (int, float, type(None))):
                return f"no number: {row.mean(name)!r:.80}"
    return ""


@pytest.fixture(scope="module")
def loaders(tmp_path_factory):
    """Give every loader with a sound file of its own."""
    place = tmp_path_factory.mktemp("files")
    found: dict[str, Loader] = {}

    def add(name, file, tree, load, wrong=lambda value: "", dump=to_json, content=None):
        path = place / name.replace(" ", "-") / file
        path.parent.mkdir()
        path.write_bytes(dump(tree) if content is None else content)
        found[name] = Loader(name, path, partial(load, path), tree, dump, wrong)

    pairs = json.loads((data_root() / "pairs/gratitude.json").read_bytes())
    pairs["pairs"] = pairs["pairs"][:3]
    chats = {"prompts": ["Say it.", {"system": "Be kind.", "user": "Say it."}, {"user": "Now."}]}
    graph = {
        "cfg": {"n_layers": 2, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8},
        "nodes": {"input": {"in_graph": True}, "logits": {"in_graph": True}}
        | {f"a{i}.h{j}": {"in_graph": True, "score": i + j / 3} for i in (0, 1) for j in (0, 1)},
        "edges": {"a0.h0->logits": {"score": 1.0}},
    }
    made_of = study(place / "study/demo")
    files = {path.relative_to(made_of): json.loads(path.read_bytes())
             for path in made_of.rglob("*.json")}  # fmt: skip
    scores = next(tree for path, tree in files.items() if "head_scores" in path.name)
    attention = next(tree for path, tree in files.items() if path.parts[0] == "attention")
    ablation = next(tree for path, tree in files.items() if "head_ablation" in path.parts)
    patching = next(tree for path, tree in files.items() if "head_patching" in path.parts)
    paths = {"experiment": "head_paths", "item": "x", "model": "one", "emotion": "joy",
             "labels": {"sender": "L0H1", "receiver": "L1H0", "input": "all"},
             "summary": {"effect": {"mean": 1.0, "ci": None, "n": 2, "d_z": None}, "share": 0.5},
             "prompts": [{"id": "a", "effect": 1.0}, {"id": "b", "effect": 1.0}],
             "provenance": {"seed": 0, "time": "now"}}  # fmt: skip
    for one in (attention, ablation, patching):
        for record in one.get("records", [one]):
            record["prompts"] = record["prompts"][:2]
    base = place / "baseline.json"
    baselines.save(_baseline(), base)

    add("profile", "p.toml", PROFILE, lambda path: load_profile(str(path)), _PROFILE, to_toml)
    add("pairs", "p.json", pairs, load_pairs, fields_of("pair", id=str, template=str))
    add("emotion of pairs", "p.json", pairs, pairs_emotion,
        lambda name: "" if isinstance(name, str) else f"{name!r}")  # fmt: skip
    lexicon = json.loads((data_root() / "lexicons/gratitude.json").read_bytes())
    add("lexicon", "l.json", lexicon, load_lexicon,
        fields_of("lexicon", name=str, version=int, words=tuple, targets=tuple))  # fmt: skip
    add("prompts and chats", "p.json", chats, load_prompts)
    add("ranking, scores", "r.json", graph,
        lambda path: load_ranking(path, "one", 2, 2, (0, 1)), _ranked)  # fmt: skip
    add("ranking, list", "r.json", ["0:0", "L0H1", "a1.h0", "1:1"],
        lambda path: load_ranking(path, "one", 2, 2, (0, 1)), _ranked)  # fmt: skip
    add(
        "lexical control",
        "c.json",
        {"version": 1, "words": ["brusque", "oblong"]},
        lambda path: _rare_words(SimpleNamespace(profile=SimpleNamespace(path=lambda *_: path))),
    )
    add("baseline", "b.json", json.loads(base.read_bytes()), baselines.load)
    add("scores file", "head_scores_one.json", scores, read_scores, _scored)
    add("attention file", "a.json", attention, read_attention)
    add("ablation file", "a.json", ablation, lambda path: read_effects([path]), _rows)
    add("patching file", "p.json", patching, lambda path: read_effects([path]), _rows)
    add("paths file", "p.json", paths, lambda path: read_paths([path]), _rows)
    return found


def mutated(loader: Loader, number: int, draw: random.Random) -> bytes:
    """Return a mutated file, two thirds of them by what they say."""
    if loader.tree is None or number % 3 == 0:
        return of_bytes(loader.path.read_bytes(), draw)
    tree = of_tree(loader.tree, draw)
    return loader.dump(of_tree(tree, draw) if number % 7 == 0 and tree else tree)


def tried(loader: Loader, data: bytes, found: Counter[str]):
    """Yield what is wrong with how a file is read, or with what is read of it."""
    loader.path.write_bytes(data)
    begin = time.process_time()
    try:
        value = loader.load()
    except InputError as error:
        found["refused"] += 1
        yield from ill_said(str(error), loader.path, *loader.named)
    except Exception as error:
        yield f"{type(error).__name__}: {error!s:.200}"
    else:
        found["read"] += 1
        try:
            if wrong := loader.wrong(value) or odd(value):
                yield f"read with {wrong}"
        except Exception as error:
            yield f"what was read is of another kind: {error!r:.200}"
    if (took := time.process_time() - begin) > SECONDS:
        yield f"took {took:.1f} s"


def campaign(
    loader: Loader,
    size: Size,
    count: int,
    *,
    mutate: Callable[[int, random.Random], bytes] | None = None,
    least: float | None = None,
) -> None:
    """Mutate a file so many times and read it each time.

    Args:
        loader: What reads it.
        size: How large the campaign is.
        count: How many mutations there are.
        mutate: Gives each; by default of bytes, and of what they say.
        least: How many of them have to be refused at least; by default a fifth.
    """
    tally = Tally(f"mutations: {loader.name}", size)
    draw, found = random.Random(loader.name), Counter[str]()
    mutate = mutate or partial(mutated, loader)
    sound, memory = loader.path.read_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not list(tried(loader, sound, found)) and found["read"], "it is not read as it is"
    for number in range(count):
        data = mutate(number, draw)
        tally.case(f"{number}: {data[:80]!r}", tried(loader, data, found))
    loader.path.write_bytes(sound)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if grown > MEMORY:
        tally.bad.append(f"{grown / 1000:.0f} MB more memory")
    tally.end(**found, grown_kb=grown)
    assert found["refused"] >= (count / 5 if least is None else least)


FILES = (
    "profile", "pairs", "emotion of pairs", "lexicon", "prompts and chats", "ranking, scores",
    "ranking, list", "lexical control", "baseline", "scores file", "attention file",
    "ablation file", "patching file", "paths file",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files(loaders, size, name):
    campaign(loaders[name], size, size.of(60, 5000))


class Lines:
    """A segment that is mutated line by line, checksums made to fit half of the time."""

    def __init__(self, data: bytes) -> None:
        self.lines = data.splitlines(keepends=True)

    def mutated(self, number: int, draw: random.Random) -> bytes:
        if number % 3 == 0:
            return of_bytes(b"".join(self.lines), draw)
        place = draw.randrange(len(self.lines) - 1)
        told = of_tree(opened(self.lines[place]), draw)
        line = sealed(told, to_json) if isinstance(told, dict) else to_json(told) + b"\n"
        return b"".join([*self.lines[:place], line, *self.lines[place + 1 :]])


def walked(path: Path) -> list[Row]:
    """Return the rows of a segment, read line by line."""
    walk = Walk(str(path))
    with path.open("rb") as file:
        return [row for event in walk.through(file) if isinstance(event, Recorded)
                for row in event.rows]  # fmt: skip


def unpacked(path: Path) -> list[Row]:
    """Return the rows of a packed segment."""
    walk = Walk(str(path))
    return [row for event in walk.through(member_lines(Segment("a", path).members()))
            if isinstance(event, Recorded) for row in event.rows]  # fmt: skip


def stored(folder: Path) -> list[Row]:
    """Return all rows of a store, its index made anew; a row's texts and vectors with it."""
    for path in (folder / "records").glob("index*"):
        path.unlink()
    store = Store(folder)
    store.runs()
    return [row for name in store.experiments() for row in store.whole_rows(name)]


@pytest.fixture(scope="module")
def segment(tmp_path_factory):
    """Give a store of one plain segment."""
    folder = tmp_path_factory.mktemp("segment") / "demo"
    made(folder)
    for number, one in enumerate(segments(folder).values()):
        if number:
            one.path.unlink()
    (path,) = (one.path for one in segments(folder).values())
    return path


@pytest.mark.parametrize(("name", "load"), [("lines", walked), ("runs and rows", stored)])
def test_segments(segment, size, name, load):
    data = segment.read_bytes()
    lines = Lines(data)
    given = segment if load is walked else segment.parent.parent
    loader = Loader(f"segment, {name}", segment, partial(load, given), wrong=_rows)
    campaign(loader, size, size.of(40, 5000), mutate=lines.mutated)
    segment.write_bytes(data)


def test_packed_segments(segment, size, tmp_path):
    """Bytes of the file; and what is in it, packed again, as who writes a store can."""
    data = segment.read_bytes()
    lines, path = Lines(data), tmp_path / "a.jsonl.gz"
    cut = data.index(b"\n", len(data) // 2) + 1
    path.write_bytes(gzip.compress(data[:cut], mtime=0) + gzip.compress(data[cut:], mtime=0))
    sound = path.read_bytes()

    def mutate(number, draw):
        if number % 2:
            return of_bytes(sound, draw)
        return gzip.compress(lines.mutated(number, draw), 1, mtime=0)

    loader = Loader("packed segment", path, partial(unpacked, path), wrong=_rows)
    campaign(loader, size, size.of(60, 5000), mutate=mutate)


MODEL = data_root() / "models/tiny-gpt2"
CONFIG = json.loads((MODEL / "config.json").read_bytes())
TOKENIZER = json.loads((MODEL / "tokenizer_config.json").read_bytes()) | {"chat_template": "{{x}}"}


@pytest.fixture
def folder(tmp_path):
    """Give the folder of a model, its weights in one part that an index names."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    return folder


def sharded(folder):
    """Have the weights of a model be in parts, and return the index of them."""
    name = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / name)
    with (folder / name).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        names = [name for name in json.loads(file.read(length)) if name != "__metadata__"]
    tree = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(tree))
    return tree


def checked(folder):
    """Do what is done with a model before it is loaded."""
    source = find(str(folder))
    _ = source.head_layers, source.context, source.weights_hash, source.tokenizer_hash
    if source.no_units is None:
        _ = source.n_units, source.mlp_width
    if "chat_template" in (folder / "tokenizer_config.json").read_text("utf-8", "replace"):
        source.check_chat()
    return source


def _sized(source):
    sizes = source.n_layers, source.n_heads
    inside = all(type(n) is int and 0 < n <= 10**6 for n in sizes)
    return "" if inside and isinstance(source.model_type, str) else f"sizes {sizes}"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "model index"])
def test_model_folders(folder, size, file):
    """The check of a model's files before any is loaded."""
    tree = {"config.json": CONFIG, "tokenizer_config.json": TOKENIZER}.get(file)
    if tree is None:
        tree, file = sharded(folder), "model.safetensors.index.json"
    (folder / file).write_bytes(to_json(tree))
    loader = Loader(f"model folder, {file}", folder / file, partial(checked, folder), tree,
                    wrong=_sized, named=(str(folder),))  # fmt: skip
    campaign(loader, size, size.of(40, 5000), least=2 if "tokenizer" in file else None)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    """Give a GGUF file."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    gguf_files.write(path, gguf_files.model_of("gpt2", "gpt2"), "gpt2")
    return path


def in_header(data, length, draw):
    """Mutate what stands before the weights, and now and then these."""
    if draw.random() < 0.1:
        return of_bytes(data, draw)
    head = of_bytes(data[:length], draw)
    if draw.random() < 0.3:
        # Counts and lengths are eight bytes each.
        at = draw.randrange(length - 8)
        size = struct.pack("<Q", draw.choice([0, 1, 2**31, 2**32, 2**40, 2**63, 2**64 - 1]))
        head = data[:at] + size + data[at + 8 : length]
    return head + data[length:]


def test_gguf_headers(gguf, size, tmp_path):
    data, path = gguf.read_bytes(), tmp_path / "a.gguf"
    path.write_bytes(data)
    loader = Loader("GGUF header", path, lambda: (read_header(path), find(str(path)))[1],
                    wrong=_sized)  # fmt: skip
    campaign(loader, size, size.of(60, 5000),
             mutate=lambda _, draw: in_header(data, 3000, draw))  # fmt: skip


SLOW = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


def ran(folder):
    """Load a model and run it."""
    model = load(find(str(folder)))
    return model.tokens("thank you")


@pytest.mark.parametrize("file", SLOW)
def test_whole_loads(folder, size, file):
    """All of a load, a tenth of a second each: transformers, tokenizers and safetensors with it."""
    path = folder / file
    data = path.read_bytes()
    tree = json.loads(data) if path.suffix == ".json" else None
    loader = Loader(f"whole load, {file}", path, partial(ran, folder), tree,
                    named=(str(folder),))  # fmt: skip
    mutate = None
    if tree is None:
        (length,) = struct.unpack("<Q", data[:8])
        mutate = lambda _, draw: in_header(data, 8 + length, draw)  # noqa: E731
    campaign(loader, size, size.of(3, 320), mutate=mutate, least=0)


def test_whole_loads_of_gguf(gguf, size, tmp_path):
    data, path = gguf.read_bytes(), tmp_path / "a.gguf"
    path.write_bytes(data)
    loader = Loader("whole load, GGUF", path, lambda: load(find(str(path))) and "",
                    named=("a.gguf",))  # fmt: skip
    campaign(loader, size, size.of(2, 320), least=0,
             mutate=lambda _, draw: in_header(data, 3000, draw))  # fmt: skip
