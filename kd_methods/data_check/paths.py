"""The folders and lists that a config names: are they there?"""

import os
import os.path as osp
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from kd_methods.data_check.findings import STOPS, Finding
from kd_methods.data_check.pairing import Folders
from kd_methods.data_check.recipes import how_to_get
from kd_methods.datasets.entries import Leaf, as_list, loaders, owners
from kd_methods.utils.files import folder_meant


def check_places(cfg: Config, *splits: str) -> None:
    """Check that the folders and lists of the data sets are there.

    Args:
        cfg (Config): A run's config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        FileNotFoundError: A folder or list file that the config names does not exist.
        ValueError: A list is no text; COCO's metric reads other annotations than the data set that is tested.
    """
    for split in splits:
        for leaves in loaders(cfg, split):
            findings = [found for leaf in leaves if (found := missing_place(leaf))]
            found = findings[0] if findings else other_annotations(cfg, leaves)
            if found is not None:
                raise FileNotFoundError(found.text) if found.missing else ValueError(found.text)


def missing_place(leaf: Leaf) -> Finding | None:
    """The first folder or list of a data set that is not there or no text, or one that is named where nothing
    reads it.

    What lies on another machine is taken to be there.
    """
    if leaf.stray:
        return Finding(
            f'{leaf.stray}: a wrapper of data sets takes no such argument. Set that of each data set '
            f'inside: --cfg-options {leaf.key}.{leaf.stray.rpartition(".")[2]}=...',
            STOPS,
        )
    if leaf.remote:
        return None
    for path in _paths(leaf):
        if not osp.exists(path):
            where = f' (data_root={leaf.root!r})' if leaf.root else ''
            return Finding(
                f'{leaf.key}: {leaf.cfg.get("type")} finds no {path!r}{where} from {os.getcwd()}. '
                f'{_where_it_is(leaf, path)}',
                STOPS,
                missing=True,
            )
    return _no_text(leaf)


def other_annotations(cfg: Config, leaves: list[Leaf]) -> Finding | None:
    """AP against other annotations than those of the data: a metric's file does not move with ``data_root``."""
    if len(leaves) != 1 or leaves[0].split == 'train' or not isinstance(leaves[0].cfg.get('ann_file'), str):
        return None
    leaf, key = leaves[0], f'{leaves[0].split}_evaluator'
    own = leaf.path(leaf.cfg['ann_file'])
    for metric in as_list(cfg.get(key)):
        given = metric.get('ann_file') if str(metric.get('type')).endswith('CocoMetric') else None
        if given and '://' not in own + given and osp.realpath(given) != osp.realpath(own):
            return Finding(
                f'{key}.ann_file: {given!r} is not what the data set reads, {own!r} ({leaf.key}), so AP '
                f'would be that of other annotations. Set both: --cfg-options {key}.ann_file={own}',
                STOPS,
            )
    return None


def _where_it_is(leaf: Leaf, path: str) -> str:
    """Of a missing folder or list: under which other name or root it lies, or where it comes from."""
    found = _same_but_capitals(path)
    if found:
        return f'There is {found!r}, with other capitals: rename it, or name it like that in the config.'
    needed = [part for part in _parts(leaf) if not osp.isabs(part)]
    meant = folder_meant(leaf.root, needed) if leaf.root and needed else None
    if meant:
        return f'{str(meant)!r} holds all that it reads: --cfg-options {leaf.key}.data_root={meant}'
    return f'{how_to_get(leaf, path)}; or name the right place with --cfg-options {leaf.key}.data_root=DIR.'


def _same_but_capitals(path: str) -> str:
    """The path as it is there; '' where more than capitals differs."""
    if not path or osp.exists(path):
        return path
    above, name = osp.split(path)
    folder = _same_but_capitals(above)
    names = Folders().names(folder) if folder or not above else ()
    return next(
        (osp.join(folder, other) for other in sorted(names) if other.casefold() == name.casefold()), ''
    )


def _no_text(leaf: Leaf) -> Finding | None:
    """A list that mmseg cannot decode."""
    path = leaf.path(leaf.cfg.get('ann_file') or '')
    listing = getattr(getattr(leaf.cls, 'load_data_list', None), '__module__', '').split('.')[0]
    if (
        'mmseg.BaseSegDataset' not in owners(leaf.cls)
        or listing not in ('mmseg', 'kd_methods')
        or not osp.isfile(path)
    ):
        return None
    content = Path(path).read_bytes()
    try:
        content.decode()
        why = 'it holds zero bytes, as UTF-16 does' if b'\0' in content else ''
    except UnicodeDecodeError as error:
        why = str(error)
    return (
        Finding(
            f'{leaf.key}.ann_file: the list {path!r} is no text in UTF-8 ({why}). Save it as UTF-8, without '
            'a byte-order mark.',
            STOPS,
        )
        if why
        else None
    )


def _paths(leaf: Leaf) -> Iterator[str]:
    """The root, the folders and the list, as the loader opens them."""
    for part in ['', *_parts(leaf)]:
        path = leaf.path(part).rstrip('/')
        if path:
            yield path


def _parts(leaf: Leaf) -> list[str]:
    """The folders and the list, as the config names them."""
    prefix = leaf.cfg.get('data_prefix') or {}
    folders = prefix if isinstance(prefix, dict) else dict(prefix=prefix)
    unread = () if leaf.loads_labels else ('seg_map_path',)  # a test split may come without labels
    parts = [*(part for name, part in folders.items() if name not in unread), leaf.cfg.get('ann_file')]
    return [str(part) for part in parts if part and isinstance(part, (str, os.PathLike))]
