"""The data sets that a config names, inside of wrappers and lists of loaders."""

import inspect
import os.path as osp
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

_FOREIGN = ('Albu',)  # its transforms are another package's
_LOCAL = ('local', 'disk')  # the file system's names among mmengine's backends, new and old
_PLACES = ('data_root', 'data_prefix', 'ann_file')


@dataclass
class Leaf:
    """A data set without wrappers around it; a wrapper that says itself where files are counts as one.

    Attributes:
        key (str): Its place in the config: ``'train_dataloader.dataset.datasets.1'``.
        split (str): 'train', 'val' or 'test'.
        cfg (dict): Its config.
        cls (type | None): Its class; None where that is not registered.
        steps (list[dict]): The transforms of its pipeline and of the wrappers around it, and those inside of
            them.
        stray (str): Key of a wrapper around it that says where files are, which wrappers do not take; ''
            without one.
    """

    key: str
    split: str
    cfg: dict
    cls: type | None
    steps: list[dict] = field(default_factory=list)
    stray: str = ''

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.cls.__name__ if self.cls else str(self.cfg.get('type'))

    @property
    def root(self) -> str:
        """The data root as the config has it; '' where it has none."""
        return str(self.cfg.get('data_root') or '')  # mmseg takes a pathlib.Path as well

    @property
    def loads_labels(self) -> bool:
        """Whether any transform reads annotations."""
        return any('Annotation' in kind_of(step) for step in self.steps)

    @property
    def remote(self) -> bool:
        """Whether the files are read through anything but the file system."""
        backends = [
            part.get(key) for part in (self.cfg, *self.steps) for key in ('backend_args', 'file_client_args')
        ]
        prefix = self.cfg.get('data_prefix') or {}
        paths = [
            self.root,
            self.cfg.get('ann_file'),
            *(prefix.values() if isinstance(prefix, dict) else [prefix]),
        ]
        return any((args or {}).get('backend', 'local') not in _LOCAL for args in backends) or any(
            isinstance(path, str) and not is_local(path) for path in paths
        )

    def path(self, part: str) -> str:
        """A path of the config below the data root."""
        return osp.join(self.root, part) if part else self.root


def loaders(cfg: Config, split: str) -> Iterator[list[Leaf]]:
    """The data sets of each dataloader of a split."""
    key = f'{split}_dataloader'
    entries = cfg.get(key)
    for i, loader in enumerate(as_list(entries)):
        if isinstance(loader, dict):
            place = f'{key}.{i}' if isinstance(entries, (list, tuple)) else key
            yield list(
                _inside(loader.get('dataset'), f'{place}.dataset', split, cfg.get('default_scope'), [])
            )


def resolve(kind: Any, registry: Any, scope: str | None) -> type | None:
    """The class of a config's ``type``; None where it is none that is registered."""
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind if isinstance(kind, type) else None


def owners(cls: type | None) -> list[str]:
    """``package.Class`` of a class and all that it derives from."""
    return [f'{c.__module__.split(".")[0]}.{c.__name__}' for c in cls.__mro__] if cls else []


def kind_of(step: dict) -> str:
    """Name of a transform's or data set's type, without its package."""
    kind = step.get('type')
    return kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def is_local(path: str) -> bool:
    """Whether a path is one of the file system, not ``s3://...`` or ``cluster:s3://...``."""
    return '://' not in path


def as_list(value: Any) -> list:
    """A value, a list of them, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _inside(
    dataset: Any, key: str, split: str, scope: str | None, outer: list[dict], stray: str = ''
) -> Iterator[Leaf]:
    if not isinstance(dataset, dict):
        return
    cls = resolve(dataset.get('type'), DATASETS, dataset.get('_scope_') or scope)
    steps = [*_flatten(dataset.get('pipeline')), *outer]
    inner = [(dataset.get('dataset'), f'{key}.dataset')]
    inner += [(entry, f'{key}.datasets.{i}') for i, entry in enumerate(as_list(dataset.get('datasets')))]
    inner = [(entry, place) for entry, place in inner if isinstance(entry, dict)]
    places = [name for name in _PLACES if name in dataset]
    if not inner or places and all(_takes(cls, name) for name in places):
        yield Leaf(key, split, dataset, cls, steps, stray)
        return
    stray = next((f'{key}.{name}' for name in places if not _takes(cls, name)), stray)
    for entry, place in inner:
        yield from _inside(entry, place, split, scope, steps, stray)


def _takes(cls: type | None, name: str) -> bool:
    """Whether a class may take an argument; one that is not known may."""
    if cls is None:
        return True
    parameters = inspect.signature(cls).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _flatten(node: Any) -> Iterator[dict]:
    """All transforms in order, those inside of RandomChoice, TestTimeAug, ... too."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        if 'type' in node and kind_of(node) in _FOREIGN:
            return
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for entry in node:
            yield from _flatten(entry)
