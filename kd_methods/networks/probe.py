"""One dry run of a network: which modules fire, how often, in which order, with which shapes.

What has to be known before training starts comes from here: the shapes that adapters are built from, how
often a shared head fires, where the teacher may stop, and which tensors are changed in place after a module.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from kd_methods.networks.recording import INPUTS, OUTPUTS, CallRecorder, Records, StopForward

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
        size (tuple[int, int]): Height and width of the image that it ran on.
        firings (dict[str, list[Firing]]): Calls of each module, by module path.
        error (Exception | None): What ended the run early, if anything.
    """

    model: BaseModel
    role: str
    size: tuple[int, int] = (128, 128)
    firings: dict[str, list[Firing]] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def name(self) -> str:
        """The network in a message, e.g. ``teacher (EncoderDecoder)``."""
        return f'{self.role} ({type(self.model).__name__})'

    def __deepcopy__(self, memo: dict) -> 'Probe':
        # a copy of a network's holder (EMA makes one) must not copy the network once more through here
        return self


def probe_network(model: BaseModel, role: str = 'student', size: tuple[int, int] = (128, 128)) -> Probe:
    """Run a network once on zeros in ``mode='tensor'`` and note every call of every module.

    The network is left as it was, its batch statistics, training flags and the random state included. A
    two-stage detector ends at its proposals: no tap may lie behind them, and its heads on all proposals of an
    untrained network would take most of a minute.

    Args:
        model (BaseModel): Network to run.
        role (str): Its name in messages. Defaults to ``'student'``.
        size (tuple[int, int]): Height and width of the input in pixels. Defaults to (128, 128).
    """
    probe = Probe(model, role, size)
    paths = [path for path, _ in model.named_modules()]
    behind = [module for path, module in model.named_modules() if path.startswith('roi_head.')]
    ends = [module.register_forward_pre_hook(_stop_at_proposals) for module in behind]
    places = {(kind, path): None for path in paths for kind in (INPUTS, OUTPUTS)}
    recorder = CallRecorder(model, places, probe.name, strict=False)
    records = Records()
    devices = {p.device.index or 0 for p in model.parameters() if p.device.type == 'cuda'}
    seed = torch.random.fork_rng(devices=sorted(devices))
    try:
        with eval_mode(model, dropout_in_place=True), torch.no_grad(), seed, recorder as records:
            model(dry_run_input(model, size), dry_run_samples(model, size), mode='tensor')
    except Exception as error:  # a head that wants real annotations: what fired before it is still known
        probe.error = error.with_traceback(None)  # whose frames would keep the run's tensors
    finally:
        recorder.remove()
        for handle in ends:
            handle.remove()
    for path in paths:
        # A call that an error ended has inputs alone: zip leaves it out.
        calls = zip(*(records.calls.get((kind, path), {}).values() for kind in (INPUTS, OUTPUTS)))
        for got, out in calls:
            shapes = shapes_of(got.data), shapes_of(out.data)
            probe.firings.setdefault(path, []).append(Firing(out.order, *shapes, got.changed, out.changed))
    return probe


def dry_run_input(model: BaseModel, size: tuple[int, int]) -> Tensor:
    """Zeros with the number of channels that the network takes.

    That is the attribute ``input_channels`` of the first module that has one, or what the first convolution
    takes, a quarter of it in YOLOX's stem, which folds 2 x 2 pixels into channels. A network with another
    form of input says so with a method ``dry_run_input(size) -> Tensor``."""
    if hasattr(model, 'dry_run_input'):
        return model.dry_run_input(size)
    names = (('in_channels' if isinstance(m, nn.Conv2d) else 'input_channels', m) for m in model.modules())
    channels = next(filter(None, (getattr(module, name, None) for name, module in names)), 3)
    if any(type(m).__name__ == 'Focus' for m in model.modules()):
        channels //= 4
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    return torch.zeros(1, channels, *size, device=device)


def dry_run_samples(model: BaseModel, size: tuple[int, int]) -> list | None:
    """One data sample without annotations, for detectors whose ``mode='tensor'`` reads image sizes."""
    if not (hasattr(model, 'bbox_head') or hasattr(model, 'roi_head') or hasattr(model, 'rpn_head')):
        return None
    from mmdet.structures import DetDataSample

    sizes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), size)
    return [DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))]


def shapes_of(data: Any) -> Shape:
    """The shapes in nested tuples, lists and dicts of tensors; None where there is no tensor."""
    if isinstance(data, Tensor):
        return tuple(data.shape)
    if isinstance(data, (list, tuple)):
        return [shapes_of(item) for item in data]
    if isinstance(data, dict):
        return {key: shapes_of(item) for key, item in data.items()}
    return None


def format_shape(shape: Shape) -> str:
    """A shape for people: ``1x64x16x16``, and ``(.., ..)`` for several."""
    if isinstance(shape, tuple):
        return 'x'.join(map(str, shape)) or 'scalar'
    if isinstance(shape, list):
        return '(' + ', '.join(format_shape(item) for item in shape) + ')'
    if isinstance(shape, dict):
        return '{' + ', '.join(f'{key}: {format_shape(item)}' for key, item in shape.items()) + '}'
    return '-'


@contextlib.contextmanager
def eval_mode(model: nn.Module, dropout_in_place: bool = False) -> Iterator[None]:
    """Put a network in eval mode for a while; each module's own flag comes back.

    With ``dropout_in_place``, dropout in place keeps training, where alone it changes its input.
    """
    flags = {module: module.training for module in model.modules()}
    model.eval()
    for module in flags:
        if dropout_in_place and 'Dropout' in type(module).__name__ and getattr(module, 'inplace', False):
            module.training = True
    try:
        yield
    finally:
        for module, training in flags.items():
            module.training = training


def _stop_at_proposals(module: nn.Module, inputs: tuple) -> None:
    raise StopForward
