"""The data sets of a config: one walk through lists of dataloaders and wrappers of data sets."""

import inspect
import os.path as osp
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from kd_methods.utils.files import is_local

_FOREIGN = ('Albu',)  # its transforms are another package's
_WHERE = ('data_root', 'data_prefix', 'ann_file')  # arguments that say where files are


@dataclass
class Entry:
    """A data set without wrappers around it; a wrapper that says itself where files are counts as one."""

    key: str  # its place in the config: 'train_dataloader.dataset.datasets.1'
    split: str  # 'train', 'val' or 'test'
    cfg: dict
    cls: type | None  # its class; None where that is not registered
    # The transforms of its pipeline and of the wrappers around it, and those inside other transforms.
    steps: list[dict] = field(default_factory=list)
    stray: str = ''  # key of an argument that says where files are, and that its wrapper does not take

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.cls.__name__ if self.cls else str(self.cfg.get('type'))

    @property
    def root(self) -> str:
        """The data root as the config has it; '' where it has none."""
        return str(self.cfg.get('data_root') or '')  # mmseg takes a pathlib.Path as well

    @property
    def prefix(self) -> dict:
        """The folders of ``data_prefix`` by name."""
        prefix = self.cfg.get('data_prefix') or {}
        return prefix if isinstance(prefix, dict) else dict(prefix=prefix)

    @property
    def loads_labels(self) -> bool:
        """Whether any transform reads annotations."""
        return any('Annotation' in kind_of(step) for step in self.steps)

    @property
    def remote(self) -> bool:
        """Whether the files are read through anything but the file system."""
        parts, names = (self.cfg, *self.steps), ('backend_args', 'file_client_args')
        paths = [self.root, self.cfg.get('ann_file'), *self.prefix.values()]
        local = all(is_local('', part.get(name)) for part in parts for name in names)
        return not local or not all(is_local(path) for path in paths if isinstance(path, str))

    def path(self, part: str) -> str:
        """A path of the config below the data root."""
        return osp.join(self.root, part) if part else self.root


def entries_of(cfg: Config, split: str) -> Iterator[list[Entry]]:
    """The data sets of each dataloader of a split."""
    key = f'{split}_dataloader'
    loaders = cfg.get(key)
    for i, loader in enumerate(as_list(loaders)):
        if isinstance(loader, dict):
            outer = f'{key}.{i}' if isinstance(loaders, (list, tuple)) else key
            whole = Entry(f'{outer}.dataset', split, loader.get('dataset'), None)
            yield list(_inside(whole, cfg.get('default_scope')))


def _inside(outer: Entry, scope: str | None) -> Iterator[Entry]:
    """The data sets in one whose class is not yet looked up, itself if it is no wrapper."""
    cfg = outer.cfg
    if not isinstance(cfg, dict):
        return
    cls = resolve(cfg.get('type'), DATASETS, cfg.get('_scope_') or scope)
    steps = [*steps_in(cfg.get('pipeline')), *outer.steps]
    inner = {f'{outer.key}.dataset': cfg.get('dataset')}
    inner.update((f'{outer.key}.datasets.{i}', entry) for i, entry in enumerate(as_list(cfg.get('datasets'))))
    inner = {key: entry for key, entry in inner.items() if isinstance(entry, dict)}
    given = [name for name in _WHERE if name in cfg]
    stray = [name for name in given if not _takes(cls, name)]
    if not inner or given and not stray:
        yield Entry(outer.key, outer.split, cfg, cls, steps, outer.stray)
        return
    for key, entry in inner.items():
        named = f'{outer.key}.{stray[0]}' if stray else outer.stray
        if kind_of(cfg) == 'UnlabelledDataset':
            entry = without_labels(entry)
        yield from _inside(Entry(key, outer.split, entry, None, steps, named), scope)


def without_labels(dataset: Mapping) -> dict:
    """A data set's config as UnlabelledDataset reads it: no folder of labels, no step that loads them."""
    steps = [step for step in dataset.get('pipeline') or [] if 'Annotation' not in kind_of(step)]
    return {**without_label_folder(dataset), 'pipeline': steps}


def without_label_folder(dataset: Mapping) -> dict:
    """A data set's config without ``data_prefix.seg_map_path``."""
    prefix = dataset.get('data_prefix')
    if not prefix:
        return dict(dataset)
    return dict(dataset, data_prefix={k: v for k, v in prefix.items() if k != 'seg_map_path'})


def _takes(cls: type | None, name: str) -> bool:
    """Whether a class may take an argument; one that is not known may."""
    parameters = inspect.signature(cls).parameters if cls else {}
    return not cls or name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def unwrap(dataset: dict) -> dict:
    """The first data set inside wrappers such as RepeatDataset and ConcatDataset, the same object."""
    return list(_nested(dataset))[-1]


def with_pipeline(dataset: dict) -> dict:
    """The outermost of nested data sets that has a pipeline, the same object; the innermost without any."""
    return next((entry for entry in _nested(dataset) if entry.get('pipeline')), unwrap(dataset))


def map_datasets(dataset: Any, change: Callable[[dict], Any]) -> Any:
    """A copy of a data set's config in which ``change`` was applied to each data set, inner ones first."""
    if not isinstance(dataset, dict):
        return dataset
    dataset = dict(dataset)
    if isinstance(dataset.get('dataset'), dict):
        dataset['dataset'] = map_datasets(dataset['dataset'], change)
    if isinstance(dataset.get('datasets'), (list, tuple)):
        dataset['datasets'] = [map_datasets(entry, change) for entry in dataset['datasets']]
    return change(dataset)


def steps_in(node: Any) -> Iterator[dict]:
    """All transforms of a pipeline in order, those inside RandomChoice, TestTimeAug, ... too."""
    if isinstance(node, dict):
        if 'type' in node:
            yield node
        if 'type' in node and kind_of(node) in _FOREIGN:
            return
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for entry in node:
            yield from steps_in(entry)


def resolve(kind: Any, registry: Any, scope: str | None) -> type | None:
    """The class of a config's ``type``; None where no such class is registered."""
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    return kind if isinstance(kind, type) else None


def owners(cls: type | None) -> list[str]:
    """``package.Class`` of a class and of its bases."""
    return [f'{c.__module__.split(".")[0]}.{c.__name__}' for c in cls.__mro__] if cls else []


def kind_of(step: Mapping) -> str:
    """Name of a transform's or data set's type, without its package."""
    kind = step.get('type')
    return kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', str(kind))


def as_list(value: Any) -> list:
    """A value, a list of them, or None, as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _nested(dataset: Any) -> Iterator[dict]:
    """A data set and the first of those inside it, from the outermost to the innermost."""
    while isinstance(dataset, Mapping):
        yield dataset
        dataset = dataset.get('dataset') or next(iter(as_list(dataset.get('datasets'))), None)
