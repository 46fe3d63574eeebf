"""``--plan``: what a run would compute and what that costs, printed in place of running it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import pytest
from tabulate import tabulate

from emolib.inputs.emotions import Emotion
from emolib.inputs.heads import HeadSet, Top
from emolib.inputs.profiles import Ablation, Profile
from emolib.inputs.units import UnitSet
from emolib.models.sources import Source
from pytest_emolib.fixture_table import FIXTURES
from pytest_emolib.items import case_of
from pytest_emolib.options import get

if TYPE_CHECKING:
    from emolib.engine.costs import Planned, Runs
    from emolib.inputs.prompts import Side
    from emolib.models.encoding import Prompts

RUNNING = 200e6
"""Bytes of what a run loads beside its model: statistics, the model's classes, kernels."""
STARTING = 3.5
"""Seconds that loading these takes, and proving what was found of a model."""
RECORDING = 0.06
"""Seconds that the statistics and the file of an item take."""
LOADING = {False: 1e-9, True: 8e-9}
"""Seconds that a byte of weights takes to load, from safetensors and from GGUF."""
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


def resident() -> int:
    """Return the bytes of memory that this process holds; where that cannot be read, at most."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
    return pages * os.sysconf("SC_PAGE_SIZE")


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
        rows, total, begun = [], 0.0, 0.0
        for name, members in by_model.items():
            source = next(source for source in self.sources if source.name == name)
            row, seconds = self._of_model(source, members, begun)
            begun = time.process_time()
            rows.append(row)
            total += seconds
        formats = ("", "", "", "", "", ".1f", ".4g", ".1f", ".0f")
        yield tabulate(rows, HEADERS, tablefmt=fmt, floatfmt=formats)
        yield (
            "rows: runs to compute, a draw each; forwards: their cost in clean runs of the emotion "
            "prompts; seconds: of the whole run in one process, at the speeds just measured; MB: "
            "the peak of that process, weights, clean runs and the largest batch in it"
        )
        if rows and all(row[1] == row[2] for row in rows):
            yield "all of it is in the store, which a run takes it from; --fresh computes anew"
        if others:
            yield f"{others} items that run on no model are not counted"
        if workers > 1:
            yield f"with -n {workers}: about {total / workers:.0f} s, where cores are free"

    def _of_model(self, source: Source, items: Group, begun: float) -> tuple[list[Any], float]:
        running = [item for item in items if not self.stored(item)]
        if not running:
            # Engine and libraries take seconds to load: who has all in the store does without.
            return [source.name, len(items), len(items), 0, 0, 0.0, 0.0, 0.0, 0.0], 0.0
        from emolib.engine import costs
        from emolib.engine.shapes import shape_of
        from emolib.models.loading import describe

        profile = self.profile
        config, tokenizer = describe(source)
        base = resident()
        shape = shape_of(config, source.mlp_width, profile.dtype)
        total, forwards, most = costs.Cost(), 0.0, 0
        for emotion in dict.fromkeys(case_of(item).emotion for item in running):
            if emotion is None:
                continue
            members = [item for item in running if case_of(item).emotion == emotion]
            prompts = self.prompts(emotion, tokenizer, config)
            cost = costs.Cost()
            shapes = source.n_layers, source.n_heads, source.mlp_width
            everywhere = False
            for runs in runs_of(costs.Planned(prompts, profile, *shapes), members):
                cost += runs.cost(shape, size=profile.batch_size, gpu=profile.device != "cpu")
                everywhere = everywhere or runs.position != "last"
            total += cost
            forwards += cost.flops / costs.forward_flops(shape, prompts["emotion"])
            most = max(most, costs.held(shape, prompts, everywhere=everywhere))
        # What was done and loaded until here, the other process does and loads too.
        seconds = time.process_time() - begun + STARTING + len(running) * RECORDING
        seconds += shape.weights * LOADING[source.gguf is not None]
        seconds += total.seconds(costs.speed_of(shape, profile.device))
        bytes_ = base + RUNNING + shape.weights + total.peak + most
        stored = len(items) - len(running)
        figures = [total.rows, total.batches, forwards, total.flops / 1e9, seconds, bytes_ / 1e6]
        return [source.name, len(items), stored, *figures], seconds

    def prompts(self, emotion: str, tokenizer: Any, config: Any) -> dict[Side, Prompts]:
        """Return the prompts of each side of an emotion under a model's tokenizer.

        Raises:
            InputError: When one does not fit the model, or no pair aligns.
        """
        from emolib.models.encoding import align, encode

        data, new = self.emotions[emotion], self.profile.max_new_tokens
        chat = self.profile.as_chat
        text = getattr(config, "text_config", None) or config
        context = getattr(text, "max_position_embeddings", None)
        limit = None if context is None else context - new
        if data.pairs is None:
            assert data.free is not None
            sides = (encode(tokenizer, prompts, limit, chat=chat) for prompts in data.free)
            return dict(zip(("emotion", "neutral"), sides, strict=True))
        pairs = align(tokenizer, data.pairs, limit, chat=chat)
        return {"emotion": pairs.emotion, "neutral": pairs.neutral}


def runs_of(planned: Planned, items: Group) -> Iterator[Runs]:
    """Yield the runs of the items of one model and emotion: what their fixtures say they cost."""
    functions: dict[tuple[str, Ablation | None], Group] = {}
    for item in items:
        key = item.nodeid.partition("[")[0], case_of(item).ablation
        functions.setdefault(key, []).append(item)
    once: dict[str, None] = {}
    for (_, ablation), members in functions.items():
        asked = [FIXTURES[n] for n in getattr(members[0], "fixturenames", ()) if n in FIXTURES]
        # Each set that an item edits, by the fixture that it comes from.
        sets = [(f, getattr(case_of(item), f.edits)) for f in asked if f.edits for item in members]
        once |= dict.fromkeys(name for fixture in asked for name in fixture.once)
        once |= dict.fromkeys(n for f, chosen in sets if isinstance(chosen, Top) for n in f.ranked)
        of_function = replace(
            planned,
            items=len(members),
            firsts=tuple(_first(chosen) for _, chosen in sets if chosen is not None),
            # Units are many: they are patched at the profile's position alone.
            positions=(planned.profile.position,)
            if any(f.edits == "units" for f in asked)
            else None,
            draws=_draws(ablation, planned.profile),
            ablation=ablation,
        )
        for name in dict.fromkeys(name for fixture in asked for name in fixture.each):
            yield from costs_of(name)(of_function)
    for name in once:
        yield from costs_of(name)(planned)


def costs_of(name: str) -> Callable[[Planned], Iterator[Runs]]:
    """Return the function of a method that says what it costs, by module and name."""
    module, _, function = name.partition(".")
    found: Callable[[Planned], Iterator[Runs]] = getattr(
        import_module(f"emolib.methods.{module}"), function
    )
    return found


def _first(chosen: HeadSet | UnitSet | Top) -> int:
    """Return the first layer of a set; 0 of a rank, since only screening will tell."""
    return 0 if isinstance(chosen, Top) else min(target.layer for target in chosen)


def _draws(ablation: Ablation | None, profile: Profile) -> int:
    match ablation:
        case "resample":
            return profile.draws
        case "zero" | "mean" | "optimal" | None:
            return 1
        case _:
            assert_never(ablation)
