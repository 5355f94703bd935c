"""The record of what data was made from: the same again is left alone, anything else not written over."""

import json
from collections.abc import Collection
from pathlib import Path


def matches_manifest(
    out: Path, name: str, record: dict, what: str, overwrite: bool = False, left: Collection[str] | None = ()
) -> bool:
    """Whether a directory holds exactly what a record describes.

    Args:
        out (Path): The directory, which need not be there.
        name (str): File of the record, written when everything else is there.
        record (dict): What is asked for.
        what (str): What it would hold instead, in words: ``'other scenes'``.
        overwrite (bool): Something else may be replaced. Defaults to False.
        left (Collection[str] | None): Names that a stopped run may have left; None for any. Defaults to ().

    Raises:
        ValueError: It is a file; it holds something else, or files of which nothing is known.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f'out: {out} is a file, expected a directory: pass another --out')
    if (out / name).is_file():
        have = json.loads((out / name).read_text())
        keys = [key for key in sorted({*have, *record}) if have.get(key) != record.get(key)]
        if keys and not overwrite:
            changed = '; '.join(f'{key} {have.get(key)} there, {record.get(key)} asked' for key in keys)
            cure = 'pass another --out, or --overwrite to replace that'
            raise ValueError(f'out: {out} holds {what} ({changed}): {cure}')
        return not keys
    foreign = sorted(path.name for path in out.iterdir()) if out.exists() and left is not None else []
    foreign = [file for file in foreign if file not in left]
    if foreign:
        text = f'out: {out} is not empty and holds no {name} (found {foreign[:3]})'
        raise ValueError(f'{text}: pass an empty or a new --out')
    return False
