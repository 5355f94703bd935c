"""The text of a check: sections of aligned tables, then what was found."""

import sys
import textwrap
import time
from collections.abc import Sequence

WIDTH = 118
_WHOLE_WORDS = dict(break_long_words=False, break_on_hyphens=False)  # paths and names are to be copied


class Report:
    """Sections in the order in which they were written, and what is wrong.

    Args:
        title (str): First line. Defaults to none yet.
        live (bool): Print what is found when it is found, and on a terminal what is being done. Then
            :meth:`verdict` is left to print. Defaults to False.
    """

    def __init__(self, title: str = '', live: bool = False) -> None:
        self.live, self.title = live, ''
        self.sections: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.notes: list[str] = []
        self._printed, self._start = 0, time.monotonic()
        if title:
            self.head(title)

    @property
    def exit_code(self) -> int:
        """0 where nothing is wrong, 1 otherwise."""
        return 1 if self.wrong else 0

    def begin(self, what: str) -> None:
        """Say, where this is live and somebody looks on, what is done next."""
        if self.live and sys.stderr.isatty():
            print(f'[{time.monotonic() - self._start:3.0f} s] {what} ...', file=sys.stderr, flush=True)

    def head(self, title: str) -> None:
        """Set the title."""
        self.title = title
        self._print(title)

    def add(self, title: str, text: str) -> None:
        """Add a section; an empty one is left out."""
        if text:
            self.sections.append((title, text))
            self._print(_section(title, text))
        if self.live and self.wrong[self._printed :]:
            self._print(_bullets('x', self.wrong[self._printed :]))
            self._printed = len(self.wrong)

    def verdict(self) -> str:
        """Notes, and what is wrong."""
        notes = ['Notes\n' + _bullets('-', self.notes)] if self.notes else []
        things = 'One thing is' if len(self.wrong) == 1 else f'{len(self.wrong)} things are'
        wrong = f'{things} wrong\n' + _bullets('x', self.wrong) if self.wrong else 'Nothing wrong was found.'
        return '\n\n'.join([*notes, wrong])

    def __str__(self) -> str:
        return '\n\n'.join([self.title, *(_section(*part) for part in self.sections), self.verdict()])

    def _print(self, text: str) -> None:
        if self.live:
            print(f'{text}\n', flush=True)


def _section(title: str, text: str) -> str:
    return f'{title}\n{textwrap.indent(text, "  ")}'


def table(
    rows: Sequence[Sequence], header: Sequence[str] = (), right: Sequence[int] = (), rule: bool = False
) -> str:
    """Align columns; those of ``right``, such as numbers, to the right. ``rule``: a line below the header."""
    rows = [header, *rows] if header else rows
    cells = [['' if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for row in cells:
        aligned = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append('  '.join(aligned).rstrip())
    if rule:
        lines.insert(1, '-' * (sum(widths) + 2 * len(widths) - 2))
    return '\n'.join(lines)


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values; a long value goes on below itself."""
    indent = max((len(name) for name, _ in rows), default=0) + 2
    lines = []
    for name, value in rows:
        parts = [textwrap.wrap(line, WIDTH - indent, **_WHOLE_WORDS) for line in value.splitlines()]
        first, *others = sum(parts, []) or ['']
        lines += [name.ljust(indent) + first] + [' ' * indent + part for part in others]
    return '\n'.join(lines)


def number(value: float | None, form: str = '.3g') -> str:
    """A figure in a form of Python's format language; a dash where there is none."""
    return '-' if value is None else format(value, form)


def count(value: float | None) -> str:
    """A large count with its unit: ``1.23 M``."""
    if value is None:
        return '-'
    for unit, size in (('T', 1e12), ('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if value >= size:
            return f'{value / size:.3g} {unit}'
    return f'{value:.0f}'


def _bullets(mark: str, items: Sequence[str]) -> str:
    indents = dict(initial_indent=f'  {mark} ', subsequent_indent='    ')
    return '\n'.join(textwrap.fill(item, WIDTH, **indents, **_WHOLE_WORDS) for item in items)
