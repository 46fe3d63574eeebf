"""The regression rule: has the effect of a head drifted from its baseline?

See docs/science.md, "Regression rule".

Two intervals that overlap are no test: on paired data they overlap far past a drift of a quarter.
So the test is on the paired differences ``D_i = e_new − e_ref``, both ways: equivalence by two
one-sided tests (TOST), drift by an interval that excludes 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from emolib.stats.noise import FLOAT_NOISE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

REPLAY_ABSOLUTE = REPLAY_RELATIVE = 1e-3
SHARE_OF_EFFECT, SHARE_OF_GAP, LEAST = 0.2, 0.02, 0.05
_EQUIVALENCE, _ERROR = 0.90, 0.05

Outcome = Literal["drifted", "inconclusive", "equivalent", "replayed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""From worst to best."""
Role = Literal["gated", "control"]


@dataclass(frozen=True)
class Verdict:
    """What became of one effect.

    Attributes:
        outcome: ``replayed``: every pair is as it was. ``equivalent``: the change is shown to be
            within δ. ``drifted``: it is beyond δ, and not by chance. ``inconclusive``: neither.
        baseline: Mean effect in the baseline, in the metric's unit.
        now: Mean effect of this run.
        ci: 90 % CI of the drift ``now − baseline``, None where SD ≈ 0.
        delta: δ, the change that matters.
        why: What decided, where it needs saying.
    """

    outcome: Outcome
    baseline: float
    now: float
    ci: tuple[float, float] | None
    delta: float
    why: str = ""

    @property
    def drift(self) -> float:
        """Mean of ``e_new − e_ref``."""
        return self.now - self.baseline


def tolerance(effect: float, gap: float | None) -> float:
    """Return δ = max(0.2·|mean e_ref|, 0.02·|clean LD gap|, 0.05), in logits.

    Args:
        effect: Mean effect in the baseline; 0 for a null control.
        gap: Clean gap of ``logit_diff`` between the sides; None where there is none.
    """
    return max(SHARE_OF_EFFECT * abs(effect), SHARE_OF_GAP * abs(gap or 0.0), LEAST)


def judge(
    before: ArrayLike,
    now: ArrayLike,
    *,
    gap: float | None,
    tests: int = 1,
    replay: bool = True,
    role: Role = "gated",
) -> Verdict:
    """Return the verdict on one effect, pair by pair against its baseline.

    A gated effect is judged by its drift. A null control is judged by the effect itself, which
    must stay within δ of 0, whatever it was. The pairs are fixed, and the question is what became
    of the effect on them, not on other templates: so the pair is the unit here. Intervals are
    Student's; at the level that `tests` asks for a bootstrap has no tail to read.

    Args:
        before: Effects of the baseline, shape ``[n]``.
        now: Effects of this run, of the same pairs, shape ``[n]``.
        gap: Clean gap of ``logit_diff`` between the sides, logits.
        tests: How many effects are declared: a drift has to stand out among them
            (``1 − 0.05 / tests``).
        replay: Whether weights, tokenizer, prompts, dtype and device are those of the baseline, so
            that equal numbers can be asked for.
        role: Whether the effect is gated or a null control.

    Raises:
        ValueError: When the shapes differ or there is no pair.
    """
    # Imported here, as scipy below: every run reads this module, few compare anything.
    import numpy as np

    old, new = np.asarray(before, dtype=np.float64), np.asarray(now, dtype=np.float64)
    if old.ndim != 1 or old.shape != new.shape or not len(old):
        raise ValueError(
            f"expected effects of the same pairs, shape [n], got {list(old.shape)} before and "
            f"{list(new.shape)} now"
        )
    null = role == "control"
    delta = tolerance(0.0 if null else float(old.mean()), gap)
    drift, tested = new - old, new if null else new - old

    def verdict(outcome: Outcome, why: str = "") -> Verdict:
        noisy = drift.std() > FLOAT_NOISE * max(1.0, abs(float(old.mean())))
        ci = _interval(drift, _EQUIVALENCE) if noisy else None
        return Verdict(outcome, float(old.mean()), float(new.mean()), ci, delta, why)

    same = np.abs(drift) <= REPLAY_ABSOLUTE + REPLAY_RELATIVE * np.abs(old)
    size = abs(float(tested.mean()))
    if replay and bool(same.all()) and not (null and size >= delta):
        return verdict("replayed")
    what = "the control's effect" if null else "the drift"
    if tested.std() <= FLOAT_NOISE * max(1.0, size):
        # No spread to test against: the size alone decides.
        return verdict("drifted" if size > delta else "equivalent", f"{what} has SD ≈ 0")
    low, high = _interval(tested, _EQUIVALENCE)
    if -delta < low and high < delta:
        return verdict("equivalent")
    wide = _interval(tested, 1 - _ERROR / tests)
    if size > delta and not wide[0] <= 0 <= wide[1]:
        return verdict("drifted", "a null control with an effect" if null else "")
    beyond = "may be beyond" if size <= delta else "is beyond"
    return verdict("inconclusive", f"{what} {beyond} δ, and the pairs do not tell")


def _interval(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    from scipy import special

    # One pair has no spread, so it never gets here.
    mean, error = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5
    half = float(special.stdtrit(len(values) - 1, (1 + level) / 2)) * error
    return mean - half, mean + half
