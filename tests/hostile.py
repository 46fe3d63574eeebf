"""What somebody might have a prompt, a model or a name say, for everything that shows text."""

from __future__ import annotations

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!-- --><b onclick='x()'>",
    "]]>&amp;&lt;",
    "![x](https://example.org/a.png) [y](javascript:alert(1)) `code` **b**",
    "| a | b |\n|---|---|",
    "# heading\n- list\n1. one",
    "\x1b[31mred\x1b[0m\x07\x08",
    "\x9b31mred",
    "\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
    "abc\u202egnp.exe\u2066x\u2069",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    r"$\evil{x}$ $ \input{/etc/passwd} 50% #1 a_b ~ ^",
    r"\write18{rm -rf /}",
    "a\r\nb\u2028c\u2029d\x85e",
    "\ud800",
    "\0nul",
    "'; DROP TABLE items; --",
    "x" * 10_000,
    "日本語 עברית 😀",
)
