from __future__ import annotations

import json
from dataclasses import replace

import pytest

from emolib.errors import InputError
from emolib.inputs.profiles import COMPARED
from emolib.reporting.regression_check import changes, check_table, compare, counts, weak
from emolib.results.baselines import (
    Baseline,
    Declared,
    DeclaredEffect,
    check_grounds,
    effects_of,
    load,
    save,
)
from emolib.results.grounds import Ground, replayable
from emolib.results.rows import Row

GROUND = Ground(
    *("m", "joy", "gpt2", "w", "t", "p"),
    settings={"dtype": "float32", "position": "last"},
    device="cpu",
    gap=10.0,
    ids=("a", "b"),
    versions={"torch": "2"},
)


def effect(heads="L0H0", values=(-5.0, -4.0), role="gated"):
    dims = {"model": "m", "emotion": "joy", "heads": heads}
    return DeclaredEffect("e", dims, "ld", role, values)


def baseline(*effects, ground=GROUND):
    return Baseline({e.name: e for e in effects}, {ground.study: ground})


def row(number=0, labels=None, vectors=None, of=2):
    told = {name: None for name in COMPARED} | {"dtype": "float32"}
    told |= {"model": {"type": "gpt2", "weights": "w", "config": "c", "tokenizer": "t"},
             "prompts": "p", "device": "cpu", "clean_gap": 3.0}  # fmt: skip
    return Row("x.py::exp_e[m]", "e", "k", number, of, {"model": "m", "emotion": "joy",
               "heads": "L0H0"}, labels=labels or {}, vectors=vectors or {"ld": [1.0, 2.0]},
               pairs={"ids": ["a", "b"], "templates": ["t", "u"]}, provenance=told)  # fmt: skip


def test_a_baseline_comes_back_from_its_file(tmp_path):
    made = baseline(effect(), effect("L0H1", (0.01, -0.02), "control"))
    save(made, tmp_path / "effects/b.json")
    assert load(tmp_path / "effects/b.json") == made


def test_its_file_has_a_line_an_effect(tmp_path):
    save(baseline(effect(), effect("L0H1")), tmp_path / "b.json")
    lines = (tmp_path / "b.json").read_text("utf-8").splitlines()
    assert sum('"values"' in line for line in lines) == 2


def test_effects_are_what_the_marker_declares():
    rows = [row(i, {"direction": way, "position": "last"}) for i, way in enumerate("ab")]
    rows.append(row(2, {"direction": "a", "position": "all"}))
    found = effects_of(rows, Declared("ld", "gated", {"position": "last"}))
    assert list(found.effects) == ["e[m-joy-L0H0-a-last]", "e[m-joy-L0H0-b-last]"]
    ground = found.grounds["m", "joy"]
    assert (ground.gap, ground.ids, ground.weights) == (3.0, ("a", "b"), "w-c")


def test_records_that_nothing_tells_apart_are_numbered():
    found = effects_of([row(0), row(1)], Declared("ld", "gated"))
    assert list(found.effects) == ["e[m-joy-L0H0]", "e[m-joy-L0H0-1]"]


def test_what_is_declared_must_be_recorded():
    with pytest.raises(InputError, match="none of its records has position=slot"):
        effects_of([row()], Declared("ld", "gated", {"position": "slot"}))
    with pytest.raises(InputError, match=r"expected 'kl' with a value per pair .* got ld"):
        effects_of([row()], Declared("kl", "gated"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"type": "llama"}, "model type: gpt2 -> llama"),
        ({"tokenizer": "u"}, "tokenizer: t -> u"),
        ({"prompts": "q"}, "prompt set: p -> q"),
        ({"settings": {"dtype": "float64"}}, "dtype: float32 -> float64"),
        ({"ids": ("a", "c")}, "pairs: 2 -> 2, of other ids"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, change, told):
    now = replace(GROUND, **change)
    with pytest.raises(InputError, match=f"m on joy: not comparable, {told}"):
        compare(tmp_path, baseline(effect()), baseline(effect(), ground=now))


def test_changed_weights_have_to_be_asked_for(tmp_path):
    now = replace(GROUND, weights="v", device="cuda")
    check_grounds(tmp_path, baseline(effect()), [now], new_weights=True)
    with pytest.raises(InputError, match=r"weights have changed, w -> v; .* --effects-new-weights"):
        check_grounds(tmp_path, baseline(effect()), [now], new_weights=False)
    found = changes(baseline(effect()), baseline(effect(), ground=now))
    assert found == ["weights of m: w -> v", "device: cpu -> cuda"]
    newer = replace(GROUND, versions={"torch": "3"})
    assert changes(baseline(effect()), baseline(ground=newer)) == ["torch: 2 -> 3"]


def test_checks_are_told_worst_first(tmp_path):
    now = baseline(effect("L0H0", (-5.0, -4.0)), effect("L0H1", (-2.5, -2.0)), effect("L0H2"))
    before = baseline(effect("L0H0"), effect("L0H1"))
    checks = compare(tmp_path, before, now)
    assert [check.outcome for check in checks] == ["inconclusive", "inconclusive", "replayed"]
    assert counts(checks) == {"inconclusive": 2, "replayed": 1}
    assert checks[0].effect.dims["heads"] == "L0H1" and "was -4.500, is -2.250" in str(checks[0])
    assert "not in the baseline" in check_table(checks) and "not in the" in str(checks[1])


def test_many_good_ones_are_counted_in_place_of_shown(tmp_path):
    many = baseline(*(effect(f"L0H{i}") for i in range(40)))
    text = check_table(compare(tmp_path, many, many))
    assert text.count("L0H") == 6 and text.endswith("(and 34 replayed)")


def test_an_effect_too_small_to_guard_is_named():
    weakest = effect("L0H1", (-0.1, -0.2))
    null = effect("L0H2", (0.0, 0.0), "control")
    assert weak(baseline(effect(), weakest, null)) == [weakest.name]


def test_a_control_with_an_effect_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"mean effect is 4.500 \(δ = 0.200\).* Nothing was"):
        save(baseline(effect(role="control")), tmp_path / "b.json")
    assert not (tmp_path / "b.json").exists()


def test_what_did_not_run_is_kept_where_it_still_stands():
    old, new = baseline(effect(), effect("L0H1")), baseline(effect(values=(-9.0, -8.0)))
    kept = old.merged(new)
    assert kept.effects[effect().name].values == (-9.0, -8.0) and len(kept.effects) == 2
    moved = replace(GROUND, weights="v")
    with pytest.raises(InputError, match=r"L0H1\] is in the baseline and did not run, and m on"):
        old.merged(baseline(effect(), ground=moved))


@pytest.mark.parametrize("part", ["effects", "studies"])
def test_a_file_that_lacks_something_is_refused(tmp_path, part):
    save(baseline(effect()), tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text("utf-8"))
    for damage in ([], [{"model": "m"}]):
        (tmp_path / "b.json").write_text(json.dumps(content | {part: damage}), "utf-8")
        if part == "studies" or damage:
            with pytest.raises(InputError, match="not a baseline of version 1"):
                load(tmp_path / "b.json")
    content["effects"][0]["values"] = [1.0]
    (tmp_path / "b.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="another number of values than pairs"):
        load(tmp_path / "b.json")


WRONG = {
    "effects": [
        ("values", ["a", "b"]), ("values", [True, 1.0]), ("values", [None, 1.0]), ("values", "ab"),
        ("values", [10**308 * 10, 1.0]), ("role", "gate"), ("metric", 1), ("experiment", None),
        ("dims", {"model": "m", "emotion": "joy", "heads": 1}), ("dims", []),
    ],
    "studies": [
        ("gap", "10"), ("gap", True), ("ids", "ab"), ("ids", [1, 2]), ("settings", None),
        ("settings", []), ("versions", {"torch": 2}), ("device", []), ("commit", 1), ("time", None),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [(part, name, value) for part, fields in WRONG.items() for name, value in fields],
)
def test_a_field_of_another_type_is_refused(tmp_path, part, name, value):
    save(baseline(effect()), tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text("utf-8"))
    content[part][0][name] = value
    (tmp_path / "b.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=f"not a baseline of version 1 .*{name}"):
        load(tmp_path / "b.json")


@pytest.mark.parametrize("version", [True, 1.0, "1", None])
def test_a_version_is_a_number(tmp_path, version):
    save(baseline(effect()), tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text("utf-8"))
    (tmp_path / "b.json").write_text(json.dumps(content | {"version": version}), "utf-8")
    with pytest.raises(InputError, match="not a baseline of version 1"):
        load(tmp_path / "b.json")


@pytest.mark.parametrize("change", [{"effects": ""}, {"effects": {}}, {"studies": {}}, {"x": 1}])
def test_a_file_of_another_form_is_refused(tmp_path, change):
    save(baseline(effect()), tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text("utf-8"))
    (tmp_path / "b.json").write_text(json.dumps(content | change), "utf-8")
    with pytest.raises(InputError, match="expected a version and two lists"):
        load(tmp_path / "b.json")


def test_effects_without_values_are_none(tmp_path):
    save(baseline(effect()), tmp_path / "b.json")
    content = json.loads((tmp_path / "b.json").read_text("utf-8"))
    content["studies"][0]["ids"] = content["effects"][0]["values"] = []
    (tmp_path / "b.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match="not a baseline of version 1"):
        load(tmp_path / "b.json")


def test_settings_that_a_baseline_lacks_are_the_defaults():
    old = replace(GROUND, settings={})
    assert replayable(old, replace(GROUND, settings={"dtype": "float32"}))
    assert not replayable(replace(old, settings={"dtype": "bfloat16"}), GROUND)
