"""A folder that runs read and write in, listed before and after: whatever they do, it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forks
from folders import INI, LIGHT, pairs
from forks import Ended, Forks

SMALL = """
models = ["tiny-neo"]
emotions = ["gratitude"]
heads = ["2:0"]
units = ["0:1"]
max_new_tokens = 3
verify = 1
"""
LONGEST = 2000
"""Characters that a message may have."""
LIMIT = 20.0
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_WARNED = re.compile(r"^.*\w*Warning: .*|.*warnings summary.*", re.M)

Listing = dict[str, tuple[Any, ...]]


@dataclass
class Sandbox:
    """A folder with all that runs in it see.

    Attributes:
        top: The folder; the home of its user, temporary files and the cache are in it.
        forks: Starts runs.
        user: The user that they are run as; 0 is this one.
        kept: By path what is put back where a run has taken it away.
    """

    top: Path
    forks: Forks
    user: int = 0
    kept: dict[str, bytes] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Where runs start; deep enough that ``../../x`` is inside."""
        return self.top / "some/where/work"

    @classmethod
    def made(cls, top: Path, forks: Forks, experiment: str = LIGHT) -> Sandbox:
        """Make it."""
        made = cls(top, forks)
        made.write("pytest.ini", INI)
        made.write("exp_effect.py", experiment)
        made.write("data/profiles/small.toml", SMALL)
        made.write("data/pairs/gratitude.json", json.dumps(pairs(), indent=1))
        for name in ("home", "tmp", "cache"):
            (top / name).mkdir()
        return made

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the work folder."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        path.write_bytes(raw)
        return path

    def pytest(self, *args: str, **how: Any) -> Ended:
        """Run the experiments under the small profile."""
        given = any(arg.startswith("--profile") for arg in args)
        return self._run("pytest", *([] if given else ["--profile=small"]), *args, **how)

    def emolib(self, *args: str, **how: Any) -> Ended:
        """Run a command."""
        return self._run("emolib", *args, **how)

    def _run(self, program: str, *args: str, **how: Any) -> Ended:
        places = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache"}
        env = {name: str(self.top / place) for name, place in places.items()}
        how["env"] = env | how.get("env", {})
        how = {"limit": LIMIT, "user": self.user} | how
        return self.forks.run(self.work, *args, program=program, **how)

    def listing(self) -> Listing:
        """Return of everything in it what would show a change."""
        found: Listing = {}
        for folder, folders, files in os.walk(self.top):
            for name in (*folders, *files):
                path = Path(folder, name)
                about = path.lstat()
                kept: tuple[Any, ...] = stat.filemode(about.st_mode), about.st_uid
                if not stat.S_ISDIR(about.st_mode):
                    kept += about.st_size, about.st_mtime_ns
                found[path.relative_to(self.top).as_posix()] = kept
        return found

    def restore(self, before: Listing) -> None:
        """Take away what a run has made, and put back what it took away of what was kept."""
        after = self.listing()
        for name in sorted(set(after) - set(before), reverse=True):
            path = self.top / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for name, content in self.kept.items():
            if after.get(name) != before[name]:
                (self.top / name).write_bytes(content)
                seconds = before[name][3]
                os.utime(self.top / name, ns=(seconds, seconds))

    def keep(self) -> None:
        """Keep what is there, whatever commands do to it."""
        self.kept = {
            path.relative_to(self.top).as_posix(): path.read_bytes()
            for path in self.work.rglob("*")
            if path.is_file() and not path.is_symlink() and "index.sqlite" not in path.name
        }

    def did(self, before: Listing, usual: dict[str, Any]) -> str:
        """Return what a run that was not refused did otherwise than usual.

        Args:
            before: The listing before it.
            usual: What `settings` has of a run that nothing was asked of.
        """
        after = self.listing()
        made = sorted(set(after) - set(before))
        said = [
            f"{name}={_short(value)}"
            for path in map(self.top.joinpath, made)
            if path.suffix == ".jsonl"
            for name, value in settings(path).items()
            if usual.get(name) != value
        ]
        own = [Path(name) for name in made if not name.startswith(_OF_EVERY_RUN)]
        new = [path for path in own if path.parent not in own]
        said += [os.path.relpath(self.top / path, self.work) for path in new[:2]]
        said += [f"{len(new) - 2} more"] * (len(new) > 2)
        return ", ".join([*said, *changes(before, {n: after.get(n) for n in before})])


OF_MATPLOTLIB = ("cache/matplotlib", "home/.config")
"""What matplotlib keeps in a user's home; how it ends where something is in its way is its own."""
_OF_EVERY_RUN = (
    "some/where/work/.pytest_cache",
    "some/where/work/results",
    *OF_MATPLOTLIB,
)


def settings(segment: Path) -> dict[str, Any]:
    """Return under which settings a segment of a store was recorded, and the items in it."""
    lines = [json.loads(line) for line in segment.read_text("utf-8").splitlines()]
    items = [line["item"].partition("[")[2][:-1] for line in lines if "item" in line]
    return lines[0]["run"]["settings"] | {"items": items}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 60 else f"{text[:20]}… ({len(text)})"


def changes(before: Listing, after: Listing) -> list[str]:
    """Return what is not as it was, a line each."""
    made, gone = after.keys() - before.keys(), before.keys() - after.keys()
    other = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    said = {"made": made, "took away": gone, "changed": other}
    return [
        f"{what} {name}"
        for what, names in said.items()
        for name in sorted(names)
        if not name.startswith(OF_MATPLOTLIB)
        and not any(part in name for part in ("index.sqlite", ".pytest_cache"))
    ]


def rude(done: Ended) -> Iterator[str]:
    """Yield what no run may do, whatever it was given: print controls and warnings, too."""
    yield from forks.rude(done)
    if found := _WARNED.search(done.out):
        yield f"warned: {found[0][:300]}"
    if found := _CONTROLS.search(done.out):
        yield f"printed {found[0]!r}: {done.out[max(0, found.start() - 100) :][:200]!r}"


def refusal(done: Ended, codes: Collection[int]) -> Iterator[str]:
    """Yield what is wrong with a refusal: one line of it, bounded, and the right exit code."""
    if done.code not in codes:
        yield f"ended with {done.code}, not {codes}: {done.out[-800:]}"
    if len(done.errors) != 1:
        yield f"{len(done.errors)} errors: {done.out[-800:]}"
    if (longest := max(map(len, done.errors), default=0)) > LONGEST:
        yield f"a message of {longest} characters: {done.out[:200]}"
