"""``--plan``: what a run would compute and what that costs, printed in place of running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest
from tabulate import tabulate

from emolib.inputs.emotions import Emotion
from emolib.inputs.profiles import Profile
from emolib.models.sources import Source
from pytest_emolib.cases import Case
from pytest_emolib.items import case_of
from pytest_emolib.options import get

if TYPE_CHECKING:
    from emolib.engine.costs import Runs
    from emolib.inputs.prompts import Side
    from emolib.models.encoding import Prompts

HEADERS = ("model", "items", "stored", "rows", "batches", "forwards", "GFLOP", "seconds", "MB")
Group = list[pytest.Item]


class PlanOnly:
    """Takes the place of the run loop."""

    def __init__(self, config: pytest.Config, plan: Callable[[], Plan]) -> None:
        """Take the workers off: with ``-n`` this process alone collects.

        Args:
            config: Of the run.
            plan: Makes the plan.
        """
        self._plan = plan
        self.workers = max(1, getattr(config.option, "numprocesses", None) or 1)
        for name, off in (("numprocesses", None), ("dist", "no"), ("tx", [])):
            if hasattr(config.option, name):
                setattr(config.option, name, off)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Print the plan; run nothing."""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        fmt = get(session.config, "--table-format") or "simple"
        lines = self._plan().lines(session.items, self.workers, fmt)
        if reporter is not None:
            reporter.write_sep("=", "plan")
            for line in lines:
                reporter.write_line(line)
        return True


@dataclass(frozen=True)
class Plan:
    """What items would compute.

    Attributes:
        profile: The settings.
        sources: The models.
        emotions: The emotions by name.
        stored: Whether an item's rows are in the store.
    """

    profile: Profile
    sources: Sequence[Source]
    emotions: Mapping[str, Emotion]
    stored: Callable[[pytest.Item], bool]

    def lines(self, items: Iterable[pytest.Item], workers: int, fmt: str) -> Iterator[str]:
        """Yield the lines to print: a row per model, and in sum.

        Args:
            items: The items that would run.
            workers: Processes they are dealt out to.
            fmt: A format of tabulate.
        """
        by_model: dict[str, Group] = {}
        others = 0
        for item in items:
            source = case_of(item).source
            if source is None:
                others += 1
            else:
                by_model.setdefault(source.name, []).append(item)
        rows, total = [], 0.0
        for name, members in by_model.items():
            source = next(source for source in self.sources if source.name == name)
            row, seconds = self._of_model(source, members)
            rows.append(row)
            total += seconds
        formats = ("", "", "", "", "", ".1f", ".0f", ".1f")
        yield tabulate(rows, HEADERS, tablefmt=fmt, floatfmt=formats)
        yield (
            "rows: runs to compute, a draw each; forwards: their cost in clean runs of the emotion "
            "prompts; seconds: of these runs, in one process, at the speed just measured (texts "
            "and statistics come on top); MB: weights, clean runs and the largest batch"
        )
        if others:
            yield f"{others} items that run on no model are not counted"
        if workers > 1:
            yield f"with -n {workers}: about {total / workers:.0f} s, where cores are free"

    def _of_model(self, source: Source, items: Group) -> tuple[list[Any], float]:
        from emolib.engine.costs import Cost, forward_flops, kept, rate
        from emolib.engine.shapes import shape_of
        from emolib.models.language_model import describe

        profile = self.profile
        config, tokenizer = describe(source)
        shape = shape_of(config, source.n_units, profile.dtype)
        running = [item for item in items if not self.stored(item)]
        total, forwards, most = Cost(), 0.0, 0
        for emotion in dict.fromkeys(case_of(item).emotion for item in running):
            if emotion is None:
                continue
            members = [item for item in running if case_of(item).emotion == emotion]
            prompts = self._prompts(emotion, tokenizer, config)
            cost = Cost()
            for runs in _runs(profile, source, members, prompts):
                cost += runs.cost(shape, size=profile.batch_size, gpu=profile.device != "cpu")
            total += cost
            forwards += cost.flops / forward_flops(shape, prompts["emotion"])
            most = max(most, sum(kept(shape, side) for side in prompts.values()))
        seconds = total.seconds(rate(shape, profile.device)) if total.rows else 0.0
        bytes_ = shape.weights + total.peak + most if running else 0
        stored = len(items) - len(running)
        figures = [total.rows, total.batches, forwards, total.flops / 1e9, seconds, bytes_ / 1e6]
        return [source.name, len(items), stored, *figures], seconds

    def _prompts(self, emotion: str, tokenizer: Any, config: Any) -> dict[Side, Prompts]:
        from emolib.models.encoding import align, encode

        data, new = self.emotions[emotion], self.profile.max_new_tokens
        context = getattr(config, "max_position_embeddings", None)
        limit = None if context is None else context - new
        if data.pairs is None:
            assert data.free is not None
            sides = (encode(tokenizer, texts, limit) for texts in data.free)
            return dict(zip(("emotion", "neutral"), sides, strict=True))
        pairs = align(tokenizer, data.pairs, limit)
        return {"emotion": pairs.emotion, "neutral": pairs.neutral}


def _runs(
    profile: Profile, source: Source, items: Group, prompts: dict[Side, Prompts]
) -> Iterator[Runs]:
    """Yield the runs of one model and emotion: the clean ones, and what fixtures stand for."""
    from emolib.engine.costs import Runs

    here, new = profile.position, profile.max_new_tokens
    for of_side in prompts.values():
        yield Runs(of_side, here, (-1,), new)
    once: set[str] = set()
    functions: dict[tuple[str, str | None], Group] = {}
    for item in items:
        key = item.nodeid.partition("[")[0], case_of(item).ablation
        functions.setdefault(key, []).append(item)
        once |= set(getattr(item, "fixturenames", ()))
    for members in functions.values():
        names = set(getattr(members[0], "fixturenames", ()))
        yield from _each(profile, members, names, prompts)
    every = [layer for layer in range(source.n_layers) for _ in range(2)]
    checked = tuple(every[i % len(every)] for i in range(2 * profile.verify))
    for side, prompts_of in prompts.items():
        if "attention" in once or "screening" in once:
            yield Runs(prompts_of, here, (-1,))
        if "screening" in once:
            passes = (0,) * (6 if side == "neutral" else 1)
            yield Runs(prompts_of, here, passes, backward=True)
            yield Runs(prompts_of, here, checked)
        if "controls" in once:
            yield Runs(prompts_of, here, checked)
        if "unit_screening" in once:
            yield Runs(prompts_of, "all", (-1,), backward=True)
    if "unit_screening" in once:
        yield Runs(prompts["emotion"], here, tuple(every[i % len(every)] for i in range(48)))


def _each(
    profile: Profile, items: Group, names: set[str], prompts: dict[Side, Prompts]
) -> Iterator[Runs]:
    """Yield the runs that each item of a function makes of its own heads or units."""
    from emolib.engine.costs import Runs
    from emolib.inputs.prompts import Position

    here, new = profile.position, profile.max_new_tokens
    firsts = [_first(case_of(item)) for item in items]
    if "matched_units" in names:
        firsts *= 2
    if "patched" in names:
        positions = dict.fromkeys((here, *get_args(Position)))
        if prompts["emotion"].ends_with_slot:
            del positions["after_slot"]
        if "units" in names:
            positions = dict.fromkeys([here])
        for of_side in prompts.values():
            for position in positions:
                yield Runs(of_side, position, tuple(firsts))
            yield Runs(of_side, here, tuple(firsts), new)
    elif names & {"ablation", "run"} and names & {"heads", "units"}:
        draws = profile.draws if case_of(items[0]).ablation == "resample" else 1
        yield Runs(prompts["emotion"], here, tuple(firsts * draws))
        yield Runs(prompts["emotion"], here, tuple(firsts), new)


def _first(case: Case) -> int:
    """Return the first layer that an item edits; 0 of a rank, which screening will tell."""
    from emolib.inputs.heads import HeadSet
    from emolib.inputs.units import UnitSet

    chosen = case.heads or case.units
    if not isinstance(chosen, (HeadSet, UnitSet)):
        return 0
    return min(target.layer for target in chosen)
