"""Items that differ in heads alone are computed together, and each is still its own."""

from __future__ import annotations

import pytest

from emolib.engine import layerwise

COUNTED = """
import pytest
from emolib.engine import layerwise
from emolib.interventions import zero, scale

# That of emolib, where another run in this process has put one like the following in its place.
_sweep = getattr(layerwise.sweep, "counted", layerwise.sweep)


def sweep(clean_runs, runs, **options):
    with open("sweeps.txt", "a") as file:
        print(len(runs), file=file)
    return _sweep(clean_runs, runs, **options)


sweep.counted = _sweep
layerwise.sweep = sweep


def exp_effect(run, heads, record):
    clean, ablated = run(), run(zero(heads))
    record(logit_diff=ablated.logit_diff - clean.logit_diff)


@pytest.mark.parametrize("factor", [0.5, 2])
def exp_scaled(run, heads, factor, record):
    record(logit_diff=run(scale(heads, factor)).logit_diff)
"""


@pytest.fixture
def counted(folder, monkeypatch):
    """Give a function that runs, in this process but for ``-n``, and says how large sweeps were."""
    # Put back in the end, whatever runs in this process put there.
    monkeypatch.setattr(layerwise, "sweep", layerwise.sweep)
    (folder.path / "exp_effect.py").unlink(missing_ok=True)
    folder.write("exp_heads.py", COUNTED)

    def run(*args):
        done = folder.pytest("-q", *args)
        log = folder.path / "sweeps.txt"
        sizes = [int(line) for line in log.read_text().split()] if log.exists() else []
        log.unlink(missing_ok=True)
        return done, sorted(sizes, reverse=True)

    return run


def effects(folder):
    return {row["item"]: row["vectors"]["logit_diff"] for row in folder.rows()}


@pytest.mark.parametrize(
    "workers", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)], ids=["serial", "n2"]
)
def test_all_items_are_one_sweep_and_one_item_is_one_row(folder, counted, workers):
    done, sizes = counted(*workers)
    assert done.ret == 0, done.stdout.str()
    # Three head sets; of each factor of their own; and clean runs, by themselves.
    assert [size for size in sizes if size > 1] == [3, 3, 3]
    together = effects(folder)
    done, sizes = counted("--fresh", "-k", "exp_effect and L2H0")
    assert done.ret == 0 and set(sizes) == {1}
    alone = effects(folder)
    item = next(item for item in alone if "exp_effect" in item and "L2H0" in item)
    assert alone[item] == pytest.approx(together[item], abs=1e-5)


def test_items_in_the_store_are_not_computed_again(counted):
    counted("-k", "exp_effect and L2H0")
    done, sizes = counted("-k", "exp_effect")
    assert "3 recorded" in done.stdout.str() and max(sizes) == 2


@pytest.mark.slow
def test_a_choice_of_dist_takes_nothing_apart(counted):
    done, sizes = counted("-k", "exp_effect", "-n", "1", "--dist", "worksteal")
    assert done.ret == 0, done.stdout.str()
    assert max(sizes) == 3


@pytest.mark.slow
def test_units_of_two_workers_are_computed_apart_and_say_the_same(folder, counted):
    """Nothing that the one computes the other computes too."""
    every = ("-k", "exp_effect", "--head-spec", "all", "--fresh")
    done, sizes = counted(*every)
    assert done.ret == 0 and max(sizes) == 16
    together = effects(folder)
    done, sizes = counted(*every, "-n", "2")
    assert done.ret == 0, done.stdout.str()
    assert [size for size in sizes if size > 1] == [8, 8]
    apart = effects(folder)
    assert apart.keys() == together.keys()
    for item, effect in together.items():
        assert apart[item] == pytest.approx(effect, abs=1e-5)
