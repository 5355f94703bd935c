"""One dry run of a network: which modules fire, how often, in which order, with which shapes.

What has to be known before training starts comes from here: the shapes that adapters are built from, how
often a shared head fires, where the teacher may stop, and which tensors are changed in place after a module.
"""

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn

from kd_methods.networks.heads import decode_head
from kd_methods.networks.recording import INPUTS, OUTPUTS, CallRecorder, Records, StopForward
from kd_methods.utils.errors import describe_error

Shape = Any  # nested tuples / dicts of shapes, as the module returned its tensors
Size = tuple[int, int]  # height and width in pixels

#: Height and width of a dry run where nothing says another.
DRY_RUN_SIZE: Size = (128, 128)
#: What is tried next where that is too small.
LARGE_SIZE: Size = (512, 512)

#: Kinds of errors that a network gives on images of a size that it does not take.
_ABOUT_SIZE = (RuntimeError, ValueError, AssertionError)

#: Parts of a detector, any of which may read data samples in ``mode='tensor'``.
_DETECTION_PARTS = ('bbox_head', 'roi_head', 'rpn_head', 'panoptic_head', 'mask_head')


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
        size (tuple[int, int]): Height and width of its input.
    """

    model: BaseModel
    role: str
    firings: dict[str, list[Firing]] = field(default_factory=dict)
    error: Exception | None = None
    size: Size = DRY_RUN_SIZE

    @property
    def failure(self) -> str:
        """What ended the run, for a message about what it did not find; empty if nothing did."""
        if self.error is None:
            return ''
        what = f'the dry run of the {self.name} on {self.size[0]} x {self.size[1]} pixels (height x width)'
        cure = 'model.dry_run_size=(HEIGHT, WIDTH) sets a size that the network takes'
        return f'{what} ended with {describe_error(self.error)}; {cure}'

    @property
    def name(self) -> str:
        """The network in a message, e.g. ``teacher (EncoderDecoder)``."""
        return f'{self.role} ({type(self.model).__name__})'

    def __deepcopy__(self, memo: dict) -> 'Probe':
        # a copy of a network's holder (EMA makes one) must not copy the network once more through here
        return self


def probe_network(model: BaseModel, role: str = 'student', size: Size = DRY_RUN_SIZE) -> Probe:
    """Run a network once on zeros in ``mode='tensor'`` and note every call of every module.

    The network is left as it was, its batch statistics, training flags and the random state included. A
    two-stage detector ends at its proposals: no tap may lie behind them, and its heads on all proposals of an
    untrained network would take most of a minute.

    Args:
        model (BaseModel): Network to run.
        role (str): Its name in messages. Defaults to ``'student'``.
        size (tuple[int, int]): Height and width of the input in pixels. Defaults to (128, 128).
    """
    probe = Probe(model, role, size=tuple(size))
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
            plain_forward(model, dry_run_input(model, size), dry_run_samples(model, size))
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


def probe_networks(networks: Mapping[str, BaseModel], sizes: Sequence[Size]) -> tuple[Probe, ...]:
    """Dry runs of several networks (role -> network) on the first size that all take, else the last."""
    for size in sizes:
        probes = tuple(probe_network(network, role, size) for role, network in networks.items())
        if not any(isinstance(probe.error, _ABOUT_SIZE) for probe in probes):
            break  # no error, or one that another size would give too
    return probes


def dry_run_sizes(*networks: nn.Module | None) -> list[Size]:
    """Heights and widths for a dry run, to be tried in this order: the smaller is the cheaper.

    They are what the first network (or preprocessor) that says so is trained on, which is all that some
    networks take, and :data:`DRY_RUN_SIZE`. Where none says so, a larger one is the second: some detectors
    choose among more places than a small image has.
    """
    known = next(filter(None, map(trained_size, networks)), LARGE_SIZE)
    return sorted({known, DRY_RUN_SIZE}, key=lambda size: (size[0] * size[1], size != known))


def trained_size(network: nn.Module | None) -> Size | None:
    """Height and width of the images that a network is trained on; None where it does not say.

    That is ``size`` of its preprocessor, or of a pad in that, or ``crop_size`` of its ``test_cfg``.
    """
    preprocessor, test_cfg = (
        getattr(network, 'data_preprocessor', network),
        getattr(network, 'test_cfg', None),
    )
    pads = getattr(preprocessor, 'batch_augments', None) or ()
    sizes = [getattr(part, 'size', None) for part in (preprocessor, *pads)]
    sizes.append(test_cfg.get('crop_size') if isinstance(test_cfg, dict) else None)
    return next(filter(None, map(as_size, sizes)), None)


def as_size(size: Any) -> Size | None:
    """Height and width that a value of a config means; None where it means none."""
    size = (size, size) if isinstance(size, int) else size
    two = isinstance(size, (list, tuple)) and len(size) == 2
    return tuple(size) if two and all(isinstance(n, int) and n > 0 for n in size) else None


def dry_run_input(model: BaseModel, size: Size) -> Tensor:
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


def dry_run_samples(model: BaseModel, size: Size) -> list | None:
    """One data sample of the network's task, for those whose ``mode='tensor'`` reads any; None for others.

    A segmentor's has sizes alone, a detector's also an object. A network that reads another form of sample
    says so with a method ``dry_run_samples(size) -> list``.
    """
    if hasattr(model, 'dry_run_samples'):
        return model.dry_run_samples(size)
    sizes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), tuple(size))
    if _asks_for_samples(decode_head(model)):
        from mmseg.structures import SegDataSample

        return [SegDataSample(metainfo=sizes)]
    if not any(hasattr(model, part) for part in _DETECTION_PARTS):
        return None
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    h, w = size
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    box = torch.tensor([[0.0, 0.0, w / 2, h / 2]], device=device)
    mask = torch.zeros(1, h, w, dtype=torch.uint8)
    mask[:, : h // 2, : w // 2] = 1
    objects = InstanceData(bboxes=box, labels=box.new_zeros(1).long(), masks=BitmapMasks(mask.numpy(), h, w))
    sample = DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))
    sample.gt_instances, sample.ignored_instances = objects, objects[:0]
    return [sample]


def plain_forward(network: BaseModel, inputs: Tensor, samples: list | None) -> Any:
    """Run a network in ``mode='tensor'``, and give its decode head the data samples if that asks for them.

    mmseg's segmentors call their head with the features alone, which MaskFormer and Mask2Former refuse.

    Args:
        network (BaseModel): The network.
        inputs (Tensor): Preprocessed images, (N, C, H, W).
        samples (list | None): Their data samples, which are left as they are.
    """
    head = decode_head(network)
    if not (samples and _asks_for_samples(head)):
        return network(inputs, samples, mode='tensor')
    whole = dict(batch_input_shape=tuple(inputs.shape[-2:]))  # mmdet's heads read it, mmseg does not set it
    given = [type(sample)(metainfo={**sample.metainfo, **whole}) for sample in samples]
    forward, own = head.forward, vars(head).get('forward')
    head.forward = lambda features: forward(features, given)
    try:
        return network(inputs, samples, mode='tensor')
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _asks_for_samples(head: Any) -> bool:
    """Whether a head cannot do without data samples."""
    if not isinstance(head, nn.Module):
        return False
    asked = inspect.signature(head.forward).parameters.get('batch_data_samples')
    return asked is not None and asked.default is asked.empty


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
