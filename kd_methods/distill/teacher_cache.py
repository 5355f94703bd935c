"""What the teacher says of each sample, kept on disk: the step then costs the student's alone."""

import contextlib
import hashlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from kd_methods.networks.recording import Call, Place, Records, tensors_of
from kd_methods.utils.files import atomic_path

#: In a sample's metainfo: what tells it, in this variant, from all others.
SAMPLE_KEY = 'teacher_cache_key'
MANIFEST = 'teacher.json'
#: Runs the teacher on images and their annotations.
Run = Callable[[Tensor, list], Records]


class TeacherCache:
    """The teacher's records by sample, variant and size of the batch's images, a file each.

    A batch of which all samples are known is read; else the teacher is run on the others, and they are kept.

    Args:
        folder (str): Where. One folder serves one teacher with one set of taps; several trainings share it.
        half (bool): Keep float16, and teach what that gives, from the first time on. Defaults to False.

    Raises:
        TypeError: An argument of another type.
    """

    def __init__(self, folder: str, half: bool = False) -> None:
        if not isinstance(folder, (str, Path)) or not isinstance(half, bool):
            got = f'folder={folder!r}, half={half!r}'
            raise TypeError(
                f'model.cache_teacher: expected dict(folder=PATH, half=True or False). Got: {got}'
            )
        self.folder, self.half = Path(folder), half
        self.ready = False

    @classmethod
    def of(cls, given: Any) -> 'TeacherCache | None':
        """The cache that ``cache_teacher`` of a config means: a folder, a dict, or None."""
        if given is None:
            return None
        if isinstance(given, Mapping):
            unknown = set(given) - {'folder', 'half'}
            if unknown or 'folder' not in given:
                form = "dict(folder='work_dirs/teacher_cache', half=False)"
                raise TypeError(f'model.cache_teacher takes {form}. Got: {dict(given)}')
            return cls(**given)
        return cls(given)

    def check(self, identity: Mapping[str, str]) -> None:
        """Refuse a folder with records of another teacher.

        Args:
            identity (Mapping): What the records depend on besides the sample, see :func:`identity_of`.

        Raises:
            ValueError: The folder's manifest says something else.
        """
        self.identity = {**identity, 'half': str(self.half)}
        path = self.folder / MANIFEST
        found = json.loads(path.read_text()) if path.is_file() else self.identity
        differ = [key for key in self.identity if found.get(key) != self.identity[key]]
        if differ:
            what = f'{self.folder} holds records of another teacher: {", ".join(differ)} differ'
            cure = 'Delete the folder, or name another one in cache_teacher.folder.'
            raise ValueError(f'model.cache_teacher: {what}. {cure}')
        self.ready = True

    def keys(self, data_samples: list | None, size: Sequence[int]) -> list[str]:
        """The samples' keys in images of this size.

        Raises:
            ValueError: A sample has none.
        """
        keys = [getattr(sample, 'metainfo', {}).get(SAMPLE_KEY) for sample in data_samples or [None]]
        if None in keys:
            cure = "dataset=dict(type='SeededVariants', variants=1, dataset=dict(...))"
            why = 'the samples do not say which variant of which image they are'
            raise ValueError(f'model.cache_teacher: {why}. Wrap the training data: {cure}.')
        return [f'{key[:2]}/{key}-{"x".join(map(str, size))}' for key in keys]

    def __call__(self, inputs: Tensor, data_samples: list, run: Run) -> Records:
        """The records of a batch.

        Args:
            inputs (Tensor): The teacher's images.
            data_samples (list): Their annotations, with :data:`SAMPLE_KEY` in the metainfo.
            run (Callable): Runs the teacher.
        """
        # Under autocast a teacher of the surrounding precision says something else.
        device = inputs.device.type
        precision = f'-{torch.get_autocast_dtype(device)}' if torch.is_autocast_enabled(device) else ''
        keys = self.keys(data_samples, inputs.shape[2:])
        paths = [self.folder / f'{key}{precision}.pt' for key in keys]
        samples = [self._read(path) for path in paths]
        missing = [i for i, sample in enumerate(samples) if sample is None]
        if missing:
            whole = len(missing) == len(samples)
            given = inputs if whole else inputs[missing]
            records = run(given, data_samples if whole else [data_samples[i] for i in missing])
            for i, sample in zip(missing, self._split(records, len(missing))):
                samples[i] = sample
                self._write(paths[i], sample)
        return self._join(samples, inputs)

    def _split(self, records: Records, count: int) -> list[list]:
        """Records of a batch as those of its samples: place, number, order and data of each call."""

        def part(leaf: Any, place: Place, i: int) -> Any:
            """What a sample has of a leaf of the nested data."""
            if isinstance(leaf, Tensor):
                if leaf.dim() and len(leaf) == count:
                    return self._stored(leaf[i])
                bad = f'has no dimension of images: {tuple(leaf.shape)} for {count} images'
            elif isinstance(leaf, (bool, int, float, str, type(None))):
                return leaf
            else:
                bad = f'holds a {type(leaf).__name__}, which is not kept'
            cure = 'Tap another place, or leave the cache out.'
            raise ValueError(f'model.cache_teacher: what is recorded at {place[1]!r} {bad}. {cure}')

        calls = [(place, n, call) for place, found in records.calls.items() for n, call in found.items()]
        return [
            [(place, n, call.order, _map_leaves(call.data, part, place, i)) for place, n, call in calls]
            for i in range(count)
        ]

    def _stored(self, tensor: Tensor) -> Tensor:
        """A sample's tensor as its file has it; a copy, else the file would hold the batch."""
        tensor = tensor.detach().cpu()
        if not (self.half and tensor.is_floating_point()):
            return tensor.clone()
        half = tensor.half()
        if (half.isinf() & tensor.isfinite()).any():
            what = f'values up to {tensor.abs().max():.3g} are too large for half precision'
            raise ValueError(f'model.cache_teacher: {what}. Set cache_teacher.half=False.')
        return half

    def _join(self, samples: list[list], inputs: Tensor) -> Records:
        records = Records()
        for parts in zip(*samples):
            (kind, path), number, order, _ = parts[0]
            data = _stack([part[3] for part in parts], inputs.device, self.half)
            records.calls.setdefault((kind, path), {})[number] = Call(order, data, [])
        return records

    def _read(self, path: Path) -> list | None:
        try:
            return torch.load(path, map_location='cpu', weights_only=True)
        # Not there, or what a loss of power left of it.
        except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None

    def _write(self, path: Path, sample: list) -> None:
        if not (self.folder / MANIFEST).is_file():
            self._claim()
            size = sum(t.numel() * t.element_size() for part in sample for t in tensors_of(part[3]))
            print_log(f'Teacher cache: {size / 1e6:.1f} MB a sample go to {self.folder}.', logger='current')
        with atomic_path(path, flush=False, shared=True) as part:
            torch.save(sample, part)

    def _claim(self) -> None:
        """Say whose records these are; of trainings that do so at one time, the first one is right."""
        manifest = atomic_path(self.folder / MANIFEST, shared=True, first=True)
        with contextlib.suppress(FileExistsError), manifest as part:
            part.write_text(json.dumps(self.identity, indent=1) + '\n')
        self.check({k: v for k, v in self.identity.items() if k != 'half'})


def identity_of(teacher: BaseModel, **settings: Any) -> dict[str, str]:
    """What a teacher's records depend on besides the sample: its weights, its structure, how it is run."""
    digest = hashlib.sha256()
    for name, value in (*teacher.named_parameters(), *teacher.named_buffers()):
        digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    structure = hashlib.sha256(repr(teacher).encode()).hexdigest()
    return dict(weights=digest.hexdigest(), structure=structure, **{k: str(v) for k, v in settings.items()})


def _map_leaves(data: Any, change: Callable, *given: Any) -> Any:
    """Nested data with its leaves changed, in plain containers: safe loaders read no classes of their own."""
    if isinstance(data, dict):
        return {key: _map_leaves(item, change, *given) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        kind = list if isinstance(data, list) else tuple
        return kind(_map_leaves(item, change, *given) for item in data)
    return change(data, *given)


def _stack(parts: list, device: torch.device, half: bool) -> Any:
    """Samples' nested tensors as those of a batch."""
    first = parts[0]
    if isinstance(first, Tensor):
        batch = torch.stack(parts).to(device, non_blocking=True)
        return batch.float() if half and batch.dtype == torch.float16 else batch
    if isinstance(first, (list, tuple)):
        return type(first)(_stack(list(items), device, half) for items in zip(*parts))
    if isinstance(first, dict):
        return {key: _stack([part[key] for part in parts], device, half) for key in first}
    return first
