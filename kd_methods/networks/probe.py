"""One dry run of a network: which modules fire, how often, in which order, with which shapes.

Everything that has to be known before training starts comes from here: the shapes that adapters are built
    from, how often
a shared head fires, where the teacher may stop, and which tensors are changed in place after a module
returned them."""

from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

Shape = Any  # nested tuples / dicts of shapes, as the module returned its tensors


@dataclass
class Firing:
    """One call of one module during the dry run.

    Attributes:
        order (int): Position of the call's end among all calls.
        inputs (Shape): Shapes of the positional inputs.
        outputs (Shape): Shapes of what it returned.
        inputs_changed (bool): An input tensor was changed in place, by the module itself or later.
        outputs_changed (bool): An output tensor was changed in place later.
    """

    order: int
    inputs: Shape
    outputs: Shape
    inputs_changed: bool = False
    outputs_changed: bool = False


@dataclass
class Probe:
    """What the dry run of one network found (see :func:`probe_network`).

    Attributes:
        model (BaseModel): The network.
        role (str): ``'student'`` or ``'teacher'``, for messages.
        firings (dict[str, list[Firing]]): Calls of each module, by module path.
        error (Exception | None): What ended the run early, if anything.
    """

    model: BaseModel
    role: str
    firings: dict[str, list[Firing]] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def name(self) -> str:
        """The network in a message, e.g. ``teacher (EncoderDecoder)``."""
        return f'{self.role} ({type(self.model).__name__})'

    def __deepcopy__(self, memo: dict) -> 'Probe':
        # a copy of a network's holder (EMA makes one) must not copy the network once more through here
        return self

    def table(self, tensors_only: bool = True) -> str:
        """All module paths that fired, with firings and output shape, in the order of firing."""
        rows = sorted(self.firings.items(), key=lambda item: item[1][0].order)
        lines = [f'{self.name}:']
        for path, calls in rows:
            shape = calls[0].outputs
            if path and not (tensors_only and shape is None):
                lines.append(f'  {path}  x{len(calls)}  {format_shape(shape)}')
        return '\n'.join(lines)


def probe_network(model: BaseModel, role: str = 'student', size: tuple[int, int] = (128, 128)) -> Probe:
    """Run a network once on zeros in ``mode='tensor'`` and note every call of every module.

    The network is left as it was: the run is in eval mode without gradients, so no batch statistics move, and
        neither the
    random state nor any training flag changes. A two-stage detector ends at its proposals: no tap may lie
    behind them, and its heads on all proposals of an untrained network would take most of a minute.

    Args:
        model (BaseModel): Network to run.
        role (str): Its name in messages. Defaults to ``'student'``.
        size (tuple[int, int]): Height and width of the input in pixels. Defaults to (128, 128).
    """
    probe = Probe(model, role)
    flags = {module: module.training for module in model.modules()}
    recorder = _CallRecorder(probe)
    handles = []
    for path, module in model.named_modules():
        if path.startswith('roi_head.'):
            handles.append(module.register_forward_pre_hook(_stop_at_proposals))
        handles.append(module.register_forward_pre_hook(recorder.before))
        handles.append(module.register_forward_hook(recorder.hook(path)))
    try:
        model.eval()
        with torch.random.fork_rng(devices=_cuda_devices(model)), torch.no_grad():
            model(dry_run_input(model, size), dry_run_samples(model, size), mode='tensor')
    except _ProposalsReached:
        pass
    except Exception as error:  # a head that wants real annotations: what fired before it is still known
        probe.error = error.with_traceback(None)  # whose frames would keep the run's tensors
    finally:
        for handle in handles:
            handle.remove()
        for module, training in flags.items():
            module.training = training
    recorder.compare_versions()
    return probe


def dry_run_input(model: BaseModel, size: tuple[int, int]) -> Tensor:
    """Zeros with the number of channels that the network takes.

    That is the attribute ``input_channels`` of the first module that has one, or what the first convolution
    takes, a quarter of it in YOLOX's stem, which folds 2 x 2 pixels into channels. A network with another
    form of input says so with a method ``dry_run_input(size) -> Tensor``."""
    if hasattr(model, 'dry_run_input'):
        return model.dry_run_input(size)
    found = (
        m.in_channels if isinstance(m, nn.Conv2d) else getattr(m, 'input_channels', None)
        for m in model.modules()
    )
    channels = next(filter(None, found), 3)
    if any(type(m).__name__ == 'Focus' for m in model.modules()):
        channels //= 4
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    return torch.zeros(1, channels, *size, device=device)


def dry_run_samples(model: BaseModel, size: tuple[int, int]) -> list | None:
    """One data sample without annotations, for detectors whose ``mode='tensor'`` reads image sizes."""
    if not (hasattr(model, 'bbox_head') or hasattr(model, 'roi_head') or hasattr(model, 'rpn_head')):
        return None
    from mmdet.structures import DetDataSample

    sample = DetDataSample(
        metainfo=dict(
            img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0)
        )
    )
    return [sample]


def shapes_of(data: Any) -> Shape:
    """The shapes in nested tuples, lists and dicts of tensors; None where there is no tensor."""
    if isinstance(data, Tensor):
        return tuple(data.shape)
    if isinstance(data, (list, tuple)):
        return [shapes_of(item) for item in data]
    if isinstance(data, dict):
        return {key: shapes_of(item) for key, item in data.items()}
    return None


def tensors_of(data: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(data, Tensor):
        return [data]
    if isinstance(data, (list, tuple)):
        return [tensor for item in data for tensor in tensors_of(item)]
    if isinstance(data, dict):
        return [tensor for item in data.values() for tensor in tensors_of(item)]
    return []


def format_shape(shape: Shape) -> str:
    """A shape for people: ``1x64x16x16``, and ``(.., ..)`` for several."""
    if isinstance(shape, tuple):
        return 'x'.join(map(str, shape)) or 'scalar'
    if isinstance(shape, list):
        return '(' + ', '.join(format_shape(item) for item in shape) + ')'
    if isinstance(shape, dict):
        return '{' + ', '.join(f'{key}: {format_shape(item)}' for key, item in shape.items()) + '}'
    return '-'


def _cuda_devices(model: nn.Module) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == 'cuda'})


class _ProposalsReached(Exception):
    """Ends the dry run of a two-stage detector."""


def _stop_at_proposals(module: nn.Module, inputs: tuple) -> None:
    raise _ProposalsReached


class _CallRecorder:
    """Hooks of the dry run: note shapes at each call, and tensor versions to see later in-place changes."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.count = 0
        self.pending: list[list[tuple[Tensor, int]]] = []
        self.seen: list[tuple[Firing, list[tuple[Tensor, int]], list[tuple[Tensor, int]]]] = []

    def before(self, module: nn.Module, inputs: tuple) -> None:
        self.pending.append([(t, t._version) for t in tensors_of(inputs)])

    def hook(self, path: str):
        def after(module: nn.Module, inputs: tuple, outputs: Any) -> None:
            firing = Firing(self.count, shapes_of(inputs), shapes_of(outputs))
            self.count += 1
            self.probe.firings.setdefault(path, []).append(firing)
            self.seen.append((firing, self.pending.pop(), [(t, t._version) for t in tensors_of(outputs)]))

        return after

    def compare_versions(self) -> None:
        for firing, inputs, outputs in self.seen:
            firing.inputs_changed = any(t._version != version for t, version in inputs)
            firing.outputs_changed = any(t._version != version for t, version in outputs)
        self.seen.clear()
