"""What README and docs show in fenced blocks: commands of a shell, and everything else."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("README*.md")),
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
]
OURS = ("pytest", "emolib", "make", "pip", ".ci/run")
"""Programs whose commands are checked."""
OTHERS = ("sbatch", "rsync", "hf", "git", "cd", ".", "wait", "cp", "jupyter")
"""Programs that a block of commands may use besides, which are not run."""
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:pytest|emolib|python -m emolib|make) [^`]+)`(?!`)")
SHELL = ("", "bash", "sh", "shell", "console")
"""What stands behind the fence of a block of commands; behind nothing there may be output too."""
# What may stand before a command.
_BEFORE = ("srun", "nohup", "do", "then")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The file it stands in.
        line: Its first line there, from 1.
        kind: What stands behind the fence.
        text: What is in it.
    """

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[str]:
    """Return the commands of a block, one of several lines as one; none of a block of output."""
    if block.kind not in SHELL:
        return []
    lines = [line.strip() for line in re.sub(r"\\\n\s*", "", block.text).splitlines()]
    lines = [line.removeprefix("$ ") for line in lines if line and not line.startswith("#")]
    script = block.kind == "bash"
    if not script and not (lines and first_word(lines[0]) in (*OURS, *OTHERS)):
        return [line for line in lines if first_word(line) in OURS]
    return lines


def first_word(line: str) -> str:
    """Return the program of a command; `emolib` for ``python -m emolib``."""
    words = line.split()
    if words[:3] in (["python", "-m", "emolib"], ["python", "-m", "pytest"]):
        return words[2]
    return words[0]


def ours(line: str) -> list[list[str]]:
    """Return the commands of pytest and emolib in a line of a shell, each as its words.

    What a command hands on (behind ``--`` of ``launch``, in the ``--wrap`` of a job) is one too.
    """
    lexer = shlex.shlex(re.sub(r"\$\w+", "1", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = []
    words: list[str] = []
    for word in (*lexer, ";"):
        if word == "--" or set(word) <= set("();<>|&"):
            while words and (words[0] in _BEFORE or "=" in words[0]):
                words.pop(0)
            if words and first_word(" ".join(words)) in ("pytest", "emolib"):
                found.append(words[2:] if words[0] == "python" else words)
            words = []
        elif " " in word and word.split()[0] in ("cd", "pytest", "python", "emolib"):
            found += ours(word)
        else:
            words.append(word)
    return found


def inline(page: Path) -> list[str]:
    """Return the commands in the running text of a page."""
    return _INLINE.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
