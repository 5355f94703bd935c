"""The folders and lists that a config names: are they there?"""
import os
import os.path as osp
from collections.abc import Iterator

from mmengine.config import Config

from .cures import how_to_get
from .findings import STOPS, Finding
from .leaves import Leaf, as_list, is_local, loaders


def check_places(cfg: Config, *splits: str) -> None:
    """Check that the folders and lists of the data sets are there.

    Args:
        cfg (Config): A run's config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        FileNotFoundError: A folder or list file that the config names does not exist.
        ValueError: COCO's metric reads other annotations than the data set that is tested.
    """
    for split in splits:
        for leaves in loaders(cfg, split):
            findings = [found for leaf in leaves if (found := missing_place(leaf))]
            found = findings[0] if findings else other_annotations(cfg, leaves)
            if found is not None:
                raise FileNotFoundError(found.text) if found.missing else ValueError(found.text)


def missing_place(leaf: Leaf) -> Finding | None:
    """The first folder or list of a data set that is not there, or one that is named where nothing reads it."""
    if leaf.stray:
        return Finding(f'{leaf.stray}: a wrapper of data sets takes no such argument. Set that of each data set inside: '
                       f'--cfg-options {leaf.key}.{leaf.stray.rpartition(".")[2]}=...', STOPS)
    for path in _local_paths(leaf):
        if not osp.exists(path):
            where = f' (data_root={leaf.root!r})' if leaf.root else ''
            return Finding(
                f'{leaf.key}: {leaf.cfg.get("type")} finds no {path!r}{where} from {os.getcwd()}. {how_to_get(leaf, path)}; '
                f'or name the right place with --cfg-options {leaf.key}.data_root=DIR.', STOPS, missing=True)
    return None


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
                f'{key}.ann_file: {given!r} is not what the data set reads, {own!r} ({leaf.key}), so AP would be that of other '
                f'annotations. Set both: --cfg-options {key}.ann_file={own}', STOPS)
    return None


def _local_paths(leaf: Leaf) -> Iterator[str]:
    prefix = leaf.cfg.get('data_prefix') or {}
    folders = prefix if isinstance(prefix, dict) else dict(prefix=prefix)
    unread = () if leaf.loads_labels else ('seg_map_path', )  # a test split may come without labels
    for part in ['', *(part for name, part in folders.items() if name not in unread), leaf.cfg.get('ann_file')]:
        path = leaf.path(part).rstrip('/') if isinstance(part, str) else ''
        if path and is_local(path):
            yield path
