"""Reading checkpoints safely and loading them strictly.

A checkpoint is read without running any code that it may carry, and its weights are loaded so that nothing
goes missing without a word: every key of the file must have its place in the model and the other way round.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import nn

from kd_methods.compat.checkpoint_files import DamagedFile, UnsafeFile, fetch, read_checkpoint, trusted_files
from kd_methods.networks.weight_sets import COUNTERS, choose_weights, prefer_averaged, without_doubles
from kd_methods.utils.text import first_few

#: Where a distillation run keeps its student in a full checkpoint.
STUDENT_PREFIX = 'architecture.'


def safe_load(
    path: str | Path, trusted: bool = False, key: str = 'checkpoint', advice: str | None = None
) -> dict:
    """Read a checkpoint file without unpickling arbitrary objects.

    Args:
        path (str | Path): A local file or an http(s) address (downloaded once to torch's cache).
        trusted (bool): Unpickle everything, which may run code that the file carries. Defaults to False.
        key (str): Config key that named the file, for messages. Defaults to ``'checkpoint'``.
        advice (str | None): What to do about a file that is missing or holds other objects, for messages.
            Defaults to None: train the network, or trust the file.

    Returns:
        dict: What the file holds, on the CPU.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is damaged, is no checkpoint, or holds objects that are not on the list of what
            OpenMMLab's checkpoints hold.
    """
    path = _local_file(str(path), key, advice or 'Train that network first or correct the path.')
    try:
        with trusted_files(trusted):
            checkpoint = read_checkpoint(path, 'cpu')
    except UnsafeFile as error:
        cure = advice or (
            f'If you know where it comes from, say so with {key}_trusted=True (in the model of the config; '
            '--trusted for tools/test.py).'
        )
        problem = f'was not loaded, because it holds Python objects that could run code ({error})'
        raise UnsafeFile(f'{key}: {path} {problem}. {cure}') from error
    except DamagedFile as error:
        problem = f'is no readable checkpoint (truncated or damaged?): {error}'
        raise DamagedFile(f'{key}: {path} {problem}') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'{key}: {path} holds a {type(checkpoint).__name__}, expected a dict with a state_dict.'
        )
    return checkpoint


def extract_state_dict(checkpoint: dict) -> OrderedDict[str, torch.Tensor]:
    """The weights of a checkpoint: its ``state_dict`` (or ``model``, or itself), without the ``module.`` that
    DDP and averages put in front.

    Of several sets of weights, such as ``model`` and ``model_ema``, the averaged ones are taken; the report
    of a load says so (:func:`choice_of`).
    """
    state, choice = choose_weights(checkpoint)
    names = [k for k in state if k not in COUNTERS]
    if names and all(isinstance(k, str) and k.startswith('module.') for k in names):
        state = _strip(state, 'module.')
    single = without_doubles(state)
    if len(single) < len(state):
        choice = "'ema_*', a second set of mmcv 1, is not taken, and the averaged weights are"
    state = with_versions(OrderedDict(single), state)
    state.choice = choice
    return state


def choice_of(state: Mapping) -> str:
    """In words, which of several sets of weights these are; '' where there was one."""
    return getattr(state, 'choice', '')


def log_choice(state: Mapping, path: str | Path) -> None:
    """Log which of several sets of weights was taken from a file, where no report of the load is logged."""
    if choice_of(state):
        print_log(
            f'{path}: {choice_of(state)}', 'current', logging.WARNING
        )  # all that tools without a run show


def student_state_dict(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The student's weights of a full distillation checkpoint; anything else is returned as it is."""
    if any(k.startswith(STUDENT_PREFIX) for k in state_dict):
        return _strip(state_dict, STUDENT_PREFIX)
    return state_dict


def fit_names(state: dict[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> OrderedDict:
    """The weights of a file under the names that a network has for them.

    Tried are the names as they are; those of the student of a distillation checkpoint; names below a prefix,
    of a wrapper or of a part (``backbone.``); and the other way round, a plain network's in the student of a
    distillation. What fits most tensors by name and shape is taken; of several prefixes that fit, the one of
    averaged weights (``teacher.`` beside ``student.``).

    Args:
        state (dict): Weights of the file.
        own (Mapping): Those of the network.
    """
    plain = with_versions(OrderedDict(state), state)
    inner = _strip(own, STUDENT_PREFIX)  # the student of a distillation; empty for a plain network
    wrappers = _wrapping_prefixes(inner or own, state)
    forms = [plain] + [_strip(state, prefix) for prefix in (STUDENT_PREFIX, *wrappers[:1]) if prefix]
    if inner:
        forms += [OrderedDict((STUDENT_PREFIX + k, v) for k, v in form.items()) for form in forms]
    best = max(forms, key=lambda form: sum(_fits(value, own.get(name)) for name, value in form.items()))
    if len(wrappers) > 1 and len(best) < len(state):
        others = ', '.join(map(repr, wrappers[1:]))
        best.choice = f'of several sets of weights those below {wrappers[0]!r} are taken, not {others}'
    return best


def _fits(value: object, own: torch.Tensor | None) -> bool:
    return own is not None and getattr(value, 'shape', None) == own.shape


@dataclass
class LoadReport:
    """What happened to each key when a checkpoint met a model."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    hint: str = ''
    choice: str = ''  # which of several sets of weights of the file this is about

    @property
    def complete(self) -> bool:
        """Whether every key of the file found its place and every place its key."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        lines = [
            f'{len(self.matched)} matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected, '
            f'{len(self.mismatched)} of another shape'
        ]
        lines += _listing('missing in the file', self.missing)
        lines += _listing('not in the model', self.unexpected)
        lines += _listing(
            'other shape', [f'{n}: file {tuple(f)}, model {tuple(m)}' for n, f, m in self.mismatched]
        )
        if self.choice:
            lines.append(f'  {self.choice}')
        if self.hint:
            lines.append(f'  -> {self.hint}')
        return '\n'.join(lines)


def load_strict(
    model: nn.Module, state_dict: dict[str, torch.Tensor], what: str = 'teacher', path: str | Path = ''
) -> LoadReport:
    """Load weights so that nothing stays unloaded silently.

    Counters of batch norm (``num_batches_tracked``) may be missing and a preprocessor's buffers may be left
    over: old files differ there and neither changes a prediction.

    Args:
        model (nn.Module): Model to fill.
        state_dict (dict): Weights by name.
        what (str): Name of the model in messages. Defaults to ``'teacher'``.
        path (str | Path): Where the weights come from, for messages. Defaults to ``''``.

    Returns:
        LoadReport: What was loaded.

    Raises:
        ValueError: Keys are missing, left over or of another shape; the message is the report with the likely
            cause.
    """
    own = model.state_dict()
    report = LoadReport(choice=choice_of(state_dict))
    report.mismatched = [
        (k, tuple(v.shape), tuple(own[k].shape))
        for k, v in state_dict.items()
        if k in own and isinstance(v, torch.Tensor) and v.shape != own[k].shape
    ]
    wrong = {name for name, _, _ in report.mismatched}
    fitting = with_versions(OrderedDict((k, v) for k, v in state_dict.items() if k not in wrong), state_dict)
    keys = model.load_state_dict(fitting, strict=False)
    report.missing = [
        k for k in keys.missing_keys if k not in wrong and not k.endswith('num_batches_tracked')
    ]
    report.unexpected = [k for k in keys.unexpected_keys if not k.startswith('data_preprocessor.')]
    absent = set(keys.missing_keys) | wrong
    report.matched = [k for k in own if k not in absent]
    if not report.complete:
        report.hint = _guess_cause(report, own, state_dict, what)
        source = f' from {path}' if path else ''
        raise ValueError(f'The weights of the {what}{source} do not fit {type(model).__name__}: {report}')
    return report


def load_part(
    part: nn.Module, state: dict[str, torch.Tensor], path: str | Path, whole: bool = False
) -> LoadReport:
    """Load start weights of a part of a network: what fits arrives, and something must.

    Args:
        part (nn.Module): A backbone, a head, ...
        state (dict): Weights by name, as the file has them.
        path (str | Path): Where they come from, for messages.
        whole (bool): It is a whole network: only the weights of a complete backbone may come alone, as of a
            classifier on ImageNet; anything else must be complete. Defaults to False.

    Raises:
        ValueError: Nothing fits; or the weights of a whole network are incomplete.
    """
    own = part.state_dict()
    fitted = fit_names(state, own)
    kept = OrderedDict((k, v) for k, v in fitted.items() if _fits(v, own.get(k)))
    if whole and not _backbone_alone(own, fitted, kept):
        return load_strict(part, fitted, 'network', path)
    if not kept:
        some = first_few([repr(name) for name in fitted], 3)
        raise ValueError(
            f'{path}: none of its {len(fitted)} tensors ({some}) belongs to {type(part).__name__}, whose '
            f'first are {first_few([repr(name) for name in own], 3)}. It is the file of another network.'
        )
    part.load_state_dict(with_versions(kept, fitted), strict=False)
    return compare(own, fitted)


def load_start(
    model: nn.Module, state: dict[str, torch.Tensor], path: str | Path, partial: bool = False
) -> LoadReport:
    """Load the weights that training starts from (``load_from``): they arrive, or this is an error.

    Into a distillation go a full checkpoint of one (of another method too: its distiller is then left out), a
    student's file, or a plain one of mmseg or mmdet; into a plain network, any of these.

    Args:
        model (nn.Module): The network, or the distillation algorithm.
        state (dict): Weights of the file.
        path (str | Path): The file, for messages.
        partial (bool): Some may be missing, as long as any fits. Defaults to False.

    Raises:
        ValueError: Weights of the network are missing, left over or of another shape.
    """
    fitted = fit_names(state, model.state_dict())
    inner = any(name.startswith(STUDENT_PREFIX) for name in model.state_dict())
    part = model.get_submodule(STUDENT_PREFIX[:-1]) if inner else model
    given = _strip(fitted, STUDENT_PREFIX) if inner else fitted
    try:
        report = load_part(part, given, path, whole=not partial)
    except ValueError as error:
        cure = '' if partial else ' To take what fits, set load_from_partial=True.'
        raise ValueError(f'load_from: {error}{cure}') from error
    if inner:  # what a distillation adds to its student may be another method's, or missing
        own = model.state_dict()
        rest = {k: v for k, v in fitted.items() if not k.startswith(STUDENT_PREFIX) and _fits(v, own.get(k))}
        model.load_state_dict(rest, strict=False)
    print_log(f'load_from {path}: {report}', 'current')
    return report


def compare(own: Mapping, given: Mapping) -> LoadReport:
    """What happens to each key when weights meet a network."""
    matched = [k for k, v in given.items() if _fits(v, own.get(k))]
    report = LoadReport(matched=matched, choice=choice_of(given))
    shapes = [(k, v) for k, v in given.items() if k in own and not _fits(v, own[k])]
    report.mismatched = [(k, tuple(getattr(v, 'shape', ())), tuple(own[k].shape)) for k, v in shapes]
    report.missing = [k for k in own if k not in given and not k.endswith('num_batches_tracked')]
    report.unexpected = [k for k in given if k not in own and not k.startswith('data_preprocessor.')]
    return report


def _backbone_alone(own: Mapping, fitted: Mapping, kept: Collection[str]) -> bool:
    """Whether a file holds a network's whole backbone and none of its other parts."""
    backbone = [k for k in own if k.startswith('backbone.') and not k.endswith('num_batches_tracked')]
    others = [k for k in fitted if k in own and not k.startswith(('backbone.', 'data_preprocessor.'))]
    return bool(backbone) and not others and all(k in kept for k in backbone)


def _guess_cause(report: LoadReport, own: dict, state_dict: dict, what: str) -> str:
    prefix = next(iter(_wrapping_prefixes(own, state_dict)), None)
    if prefix == STUDENT_PREFIX:
        return (
            'this looks like a full checkpoint of a distillation run (prefix "architecture."): use the '
            'student-only file beside it, *_student.pth or best.pth'
        )
    if prefix:
        return f'this looks like a wrapped checkpoint, prefix "{prefix}": remove the prefix from its keys'
    prefix = next(iter(_wrapping_prefixes(state_dict, own)), None)
    if prefix:
        return f'this looks like the weights of a part alone: the model has them under "{prefix}"'
    for name, file_shape, model_shape in report.mismatched:
        if (
            name.endswith(('conv_seg.weight', 'fc_cls.weight', 'cls_seg.weight'))
            and file_shape[1:] == model_shape[1:]
        ):
            head = name.split('.')[0]
            return (
                f'the file was trained with {file_shape[0]} classes, the config says {model_shape[0]}: set '
                f'{what}.{head}.num_classes={file_shape[0]} or take another file'
            )
    heads = {k.split('.')[0] for k in report.missing}
    if heads and heads <= {'auxiliary_head'} and not (report.unexpected or report.mismatched):
        return f'the file has no auxiliary head: set {what}.auxiliary_head=None'
    if report.mismatched or report.unexpected:
        return (
            'the file belongs to another network (depth, width or heads): check '
            f'{what}.cfg_path against the file'
        )
    return ''


def _wrapping_prefixes(inner: dict, outer: dict) -> list[str]:
    """Prefixes that turn most keys of ``inner`` into keys of ``outer``, that of averaged weights first."""
    found: list[str] = []
    for name in list(inner)[:20]:
        ends = (key[: -len(name)] for key in outer if key.endswith('.' + name))
        for prefix in (prefix for prefix in ends if prefix not in found):
            if sum(prefix + k in outer for k in inner) > len(inner) / 2:
                found.append(prefix)
    averaged = prefer_averaged(found)
    return sorted(found, key=lambda prefix: prefix != averaged)


def _strip(state: dict, prefix: str) -> dict:
    out = OrderedDict((k[len(prefix) :], v) for k, v in state.items() if k.startswith(prefix))
    return with_versions(out, state, prefix)


def with_versions(state: OrderedDict, source: dict, prefix: str = '') -> OrderedDict:
    """Give weights what their source has beside its items: module versions, by which some layers rename their
    keys, and the words on a choice among several sets.

    Args:
        state (OrderedDict): The weights.
        source (dict): The weights that they were made of.
        prefix (str): What was taken away from the names. Defaults to ``''``.
    """
    versions = getattr(source, '_metadata', None)  # torch's; it has no public name
    if versions is not None:
        kept = {k[len(prefix) :]: v for k, v in versions.items() if k.startswith(prefix)}
        setattr(state, '_metadata', OrderedDict(kept))  # noqa: B010 (as above)
    if choice_of(source):
        state.choice = choice_of(source)
    return state


def _listing(title: str, names: list[str]) -> list[str]:
    return [f'  {title}: {first_few(names, 8)}'] if names else []


def _local_file(path: str, key: str, advice: str) -> str:
    if path.startswith(('http://', 'https://')):
        return fetch(path)
    if '://' in path:
        raise ValueError(
            f'{key}: {path!r}: only files and http(s) addresses are read; download it and give the file.'
        )
    if not Path(path).expanduser().is_file():
        folder = Path(path).expanduser().parent
        found = sorted(p.name for p in folder.glob('*.pth')) if folder.is_dir() else []
        hint = f' {folder} holds {found}.' if found else f' {folder} does not exist or has no .pth file.'
        raise FileNotFoundError(f'{key}: no file {path!r}.{hint} {advice}')
    return str(Path(path).expanduser())
