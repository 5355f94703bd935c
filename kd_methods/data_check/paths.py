"""The folders and lists that a config names: are they there, and do the wrappers fit?"""

import os
import os.path as osp

from mmengine.config import Config

from kd_methods.data_check.findings import STOPS, Finding
from kd_methods.data_check.recipes import hint_missing
from kd_methods.data_check.wrappers import judge_wrappers
from kd_methods.datasets.entries import Entry, as_list, entries_of, kind_of
from kd_methods.utils.files import check_path, folder_meant, is_local


def check_paths(cfg: Config, *splits: str) -> None:
    """Check that the folders and lists of the data sets are there, and that they fit their wrappers.

    Raises:
        FileNotFoundError: A folder or list file that the config names does not exist.
        ValueError: A wrapper is given a path, or does not fit its data sets; COCO's metric reads other
            annotations than the data set.
    """
    for split in splits:
        for entries in entries_of(cfg, split):
            findings = [missing_path(entry) for entry in entries] + [other_annotations(cfg, entries)]
            found = next((finding for finding in findings if finding), None)
            if found is not None:
                raise FileNotFoundError(found.text) if found.missing else ValueError(found.text)
        for found in judge_wrappers(cfg, split):
            raise ValueError(found.text)


def missing_path(entry: Entry) -> Finding | None:
    """The first folder or list that is not there, or named where nothing reads it; a remote one is there."""
    if entry.stray:
        option = f'{entry.key}.{entry.stray.rpartition(".")[2]}'
        cure = f'Set that of each data set inside: --cfg-options {option}=...'
        text = f'{entry.stray}: a wrapper of data sets takes no such argument. {cure}'
        return Finding(text, STOPS)
    if entry.remote:
        return None
    # A test split may come without labels.
    folders = [part for name, part in entry.prefix.items() if entry.loads_labels or name != 'seg_map_path']
    parts = [str(p) for p in (*folders, entry.cfg.get('ann_file')) if p and isinstance(p, (str, os.PathLike))]
    for path in (entry.path(part).rstrip('/') for part in ['', *parts]):
        if path and not osp.exists(path):
            reader, cure = f'{entry.key}: {entry.cfg.get("type")}', _where_it_is(entry, path, parts)
            try:
                check_path(reader, path, cure, entry.root)
            except FileNotFoundError as error:
                return Finding(str(error), STOPS, missing=True)
    return None


def _where_it_is(entry: Entry, path: str, parts: list[str]) -> str:
    """Of a missing folder or list: under which other root it lies, or where it comes from."""
    needed = [part for part in parts if not osp.isabs(part)]
    meant = folder_meant(entry.root, needed) if entry.root and needed else None
    option = f'--cfg-options {entry.key}.data_root='
    if meant:
        return f'{str(meant)!r} holds all that it reads: {option}{meant}'
    return f'{hint_missing(entry, path)}; or name the right place with {option}DIR.'


def other_annotations(cfg: Config, entries: list[Entry]) -> Finding | None:
    """AP of other annotations than those of the data: a metric's file does not move with ``data_root``."""
    if len(entries) != 1 or entries[0].split == 'train':
        return None
    entry, key = entries[0], f'{entries[0].split}_evaluator'
    own = entry.cfg.get('ann_file')
    for metric in as_list(cfg.get(key)) if isinstance(own, str) else ():
        given, own_path = metric.get('ann_file'), entry.path(own)
        if kind_of(metric) != 'CocoMetric' or not given or not is_local(own_path + given):
            continue
        if osp.realpath(given) != osp.realpath(own_path):
            text = f'{key}.ann_file: {given!r} is not what the data set reads, {own_path!r} ({entry.key})'
            cure = f'Set both: --cfg-options {key}.ann_file={own_path}'
            return Finding(f'{text}: AP would be that of other annotations. {cure}', STOPS)
    return None
