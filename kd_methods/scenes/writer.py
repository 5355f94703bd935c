"""Write sign scenes to disk, in one of the forms of :mod:`kd_methods.scenes.forms`."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kd_methods.scenes.forms import SceneForm, build_form
from kd_methods.scenes.maker import DIFFICULTY, SIZE, Scene, look_of, scene_at
from kd_methods.scenes.sources import SPLITS, load_sources
from kd_methods.utils.files import exclusive_folder
from kd_methods.utils.manifest import matches_manifest
from kd_methods.utils.parallel import check_workers, run_parallel

RECORD = 'scenes.json'  # a directory with it is complete
STARTED = RECORD + '.part'  # the same while scenes are being written
VERSION = 1  # raise it when the same arguments begin to give other scenes


def _write_scene(job: tuple[str, int], draw: Callable[..., Scene], form: SceneForm, out: Path) -> Any:
    return form.write(out, *job, draw(split=job[0], index=job[1]))


def _prepare(out: Path, record: dict, form: SceneForm, overwrite: bool) -> bool:
    """Make room for the scenes; False if exactly these scenes are there already."""
    found, started = out / RECORD, out / STARTED
    # Folders of the right names are not enough: a real COCO has them too.
    if matches_manifest(out, RECORD, record, 'other scenes', overwrite, None if started.is_file() else ()):
        return False
    if found.is_file():
        os.replace(found, started)  # from here on the directory is incomplete, and known to be ours
    forms = [form]
    if started.is_file():
        before = json.loads(started.read_text())
        forms.append(build_form(before.get('format', 'scenes'), depth=before.get('depth', False)))
    for top in {path.split('/')[0] for of in forms for path in (*of.folders(), *of.files)}:
        if (out / top).is_dir():
            shutil.rmtree(out / top, ignore_errors=True)
        else:
            (out / top).unlink(missing_ok=True)
    started.write_text(json.dumps(record, indent=2) + '\n')
    for folder in form.folders():
        (out / folder).mkdir(parents=True)
    return True


def write_scenes(
    out: str | Path,
    train: int = 3000,
    val: int = 300,
    size: int = SIZE,
    seed: int = 0,
    difficulty: float = DIFFICULTY,
    camouflage: float = 0.0,
    depth: bool = False,
    format: str = 'scenes',
    workers: int | None = None,
    overwrite: bool = False,
) -> bool:
    """Write scenes in a form on disk, and a record of the arguments, under ``out``.

    The same arguments give the same bytes for any number of workers. A directory that was left unfinished is
    written anew; a complete one of the same arguments is left alone.

    Args:
        out (str | Path): Directory of the data set.
        train (int): Number of training scenes. Defaults to 3000.
        val (int): Number of validation scenes. Defaults to 300.
        size (int): Side in pixels. Defaults to 96.
        seed (int): Seed of all scenes. Defaults to 0.
        difficulty (float): From 0 (easy) to 1 (hard). Defaults to 0.5.
        camouflage (float): Share of signs whose digit hardly shows but in the depth. Defaults to 0.0.
        depth (bool): Also write depth, in forms that have a place for it: ``'scenes'``; ``'cityscapes'``, as
            disparity. ``'nyuv2'`` always has it. Defaults to False.
        format (str): ``'scenes'`` writes ``{train,val}/{images,labels}/*.png``; another name of
            :data:`kd_methods.scenes.forms.FORMS` the files of that data set. Defaults to 'scenes'.
        workers (int, optional): Processes. Defaults to None, the number of cores.
        overwrite (bool): Replace scenes made with other arguments. Defaults to False.

    Returns:
        bool: Whether anything was written.

    Raises:
        ValueError: An argument is out of range, ``out`` holds something else or is being written.
    """
    out, counts = Path(out), dict(train=train, val=val)
    form = build_form(format, seed, depth)
    for split, count in counts.items():
        if not 1 <= count <= 100000:
            raise ValueError(f'{split}: got {count!r} scenes, expected 1 to 100000')
    form.check(counts)
    if not 32 <= size <= 1024:
        raise ValueError(f'size: got {size!r}, expected 32 to 1024 pixels')
    if seed < 0:
        raise ValueError(f'seed: got {seed!r}, expected 0 or more')
    check_workers(workers)
    look_of(difficulty, camouflage)
    record = dict(version=VERSION, **counts, size=size, seed=seed, difficulty=difficulty)
    # Named only where given: the records of plain scenes stay what they were.
    record.update({k: v for k, v in dict(camouflage=camouflage, depth=form.depth).items() if v})
    record.update(dict(format=format) if format != 'scenes' else {})
    draw = partial(scene_at, seed, size=size, difficulty=difficulty, camouflage=camouflage)
    write = partial(_write_scene, draw=draw, form=form, out=out)
    with exclusive_folder(out):
        if not _prepare(out, record, form, overwrite):
            return False
        for split in SPLITS:
            load_sources(split)  # before the fork, so that the workers share one copy
        for split in SPLITS:
            jobs = [(split, index) for index in range(counts[split])]
            form.finish(out, split, list(run_parallel(write, jobs, workers)))
        os.replace(out / STARTED, out / RECORD)
    return True
