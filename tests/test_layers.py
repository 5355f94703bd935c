"""Imports run downward: each room may import from the rooms below it alone."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: From the ground up; rooms of one floor do not know one another.
FLOORS = (
    {'utils'},
    {'compat'},
    {'ops'},
    {'networks'},
    {'distill', 'rgbx', 'evaluation'},
    {'methods', 'datasets'},
    {'scenes'},
    {'export'},
    {'hooks', 'convert'},
    {'engine'},
    {'data_check'},
    {'visualize'},
    {'check'},
    {'experiments'},
)
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports, also inside of functions, and also by a relative import."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = path.relative_to(ROOT).parts[:-1]
            base = '.'.join(parts[: len(parts) - node.level + 1]) + '.' if node.level else ''
            names = [f'{base}{node.module or ""}'.rstrip('.')]
            if names == ['kd_methods']:
                names = [f'kd_methods.{alias.name}' for alias in node.names]
        found |= {n.split('.')[1] for n in names if n.startswith('kd_methods.')}
    return found


def test_imports_run_downward():
    upward = []
    for path in sorted((ROOT / 'kd_methods').glob('*/**/*.py')):
        room = path.relative_to(ROOT / 'kd_methods').parts[0]
        for other in sorted(imported_rooms(path) - {room}):
            if ROOMS[other] >= ROOMS[room]:
                upward.append(
                    f'{path.relative_to(ROOT)} (floor {ROOMS[room]}) imports {other} ({ROOMS[other]})'
                )
    assert not upward, upward


def test_every_room_has_its_floor_and_says_its_rule():
    rooms = {path.parent.name for path in (ROOT / 'kd_methods').glob('*/__init__.py')}
    assert rooms == set(ROOMS)
    for room in rooms:
        text = (ROOT / 'kd_methods' / room / '__init__.py').read_text(encoding='utf-8')
        rule = (ast.get_docstring(ast.parse(text)) or '').splitlines()[:1]
        assert rule and rule[0].endswith('.') and len(rule[0]) <= 110, f'{room}: one line that says its rule'
