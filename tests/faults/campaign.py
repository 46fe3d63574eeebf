"""What a campaign of faults has tried, and what of it went wrong.

Every campaign has a small size, which is part of ``make test``, and a whole one behind the slow
mark, whose figures are written down: ``make faults`` makes the table of docs/reliability.md from
them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIGURES = Path(os.environ.get("EMOLIB_FAULTS", ROOT / "build/faults"))
"""Where the figures of whole campaigns go."""


@dataclass(frozen=True)
class Size:
    """How large a campaign is.

    Attributes:
        is_whole: Whether it is all that there is to try.
    """

    is_whole: bool

    def of(self, small: int, whole: int) -> int:
        """Return a number of cases."""
        return whole if self.is_whole else small


@dataclass
class Tally:
    """The cases of one campaign.

    Attributes:
        name: What was tried, as the table has it.
        size: How large the campaign is.
        tried: How many cases there were.
        bad: What went wrong, a line each.
    """

    name: str
    size: Size
    tried: int = 0
    bad: list[str] = field(default_factory=list)

    def case(self, what: str, problems: Iterable[str]) -> None:
        """Take note of a case, and of what went wrong with it."""
        self.tried += 1
        self.bad += [f"{what}: {problem}" for problem in problems]

    def end(self, **said: object) -> None:
        """Write the figures down and fail where anything went wrong.

        Args:
            said: More of what happened: how many were torn, refused.
        """
        if self.size.is_whole:
            FIGURES.mkdir(parents=True, exist_ok=True)
            name = "".join(c if c.isalnum() else "-" for c in self.name)
            content = {"name": self.name, "tried": self.tried, "bad": self.bad, "said": said}
            (FIGURES / f"{name}.json").write_text(json.dumps(content, indent=1), "utf-8")
        told = "\n".join(self.bad[:20])
        assert not self.bad, f"{self.name}: {len(self.bad)} of {self.tried}\n{told}"
        assert self.tried
