"""Feature KD: the student's map, through a 1x1 convolution, points where the teacher's does at each place.

Romero et al. FitNets: hints for thin deep nets. arXiv 1412.6550. The normalisation over channels is ours.
"""

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.grids import Resize
from kd_methods.distill.labels import COUNTED
from kd_methods.distill.loss_config import add_parsed, check_unknown, parse_loss
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.networks.heads import decode_head, ignored_label
from kd_methods.networks.taps import Tap
from kd_methods.ops.labels import not_ignored
from kd_methods.ops.reductions import full_precision, valid_mean, without_autocast
from kd_methods.ops.vectors import check_same_maps, unit_vectors
from kd_methods.utils.options import Count, checked


@checked
def feature_kd(
    feat_S: Tensor, feat_T: Tensor, label: Tensor | None = None, ignore_index: int | None = 255
) -> Tensor:
    r"""Squared distance of two maps, of which each place is normalised over the channels.

    .. math:: L = \frac{1}{|V|} \sum_{i \in V} \| f^S_i / \|f^S_i\| - f^T_i / \|f^T_i\| \|^2

    with :math:`V` the places that are not ignored: twice one minus the cosine, from 0 to 4.

    Args:
        feat_S (Tensor): The student's map.
        feat_T (Tensor): The teacher's, of the same shape; it gets no gradient.
        label (Tensor | None): Labels, which say what is ignored. Defaults to None: nothing is.
        ignore_index (int | None): The label to ignore. Defaults to 255.

    Shape:
        - feat_S, feat_T: (N, C, H, W); label: (N, h, w) or (N, 1, h, w); output: scalar.

    Raises:
        ValueError: The maps differ in their shapes.

    Example:
        >>> x = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
        >>> feature_kd(x, 3 * x).item(), feature_kd(x, x.flip(1)).item()
        (0.0, 2.0)
    """
    check_same_maps('feature_kd', feat_S=feat_S, feat_T=feat_T)
    with without_autocast(feat_S):
        x, y = (unit_vectors(full_precision(f), 1) for f in (feat_S, feat_T.detach()))
        distance = (x - y).square().sum(1)  # (N, H, W)
        return valid_mean(distance, not_ignored(label, distance.shape[1:], ignore_index))


@MODELS.register_module()
class FeatureKDLoss(OptionLoss, function=feature_kd):
    """Module of :func:`feature_kd`, with a 1x1 convolution from the student's channels to the teacher's.

    Args:
        student_channels (int): Channels of the student's map.
        teacher_channels (int): Channels of the teacher's map.
        ignore_index (int | None): The label to ignore. Defaults to 255.
        loss_weight (float): Factor of the loss. Defaults to 1.0.

    Example:
        >>> loss = FeatureKDLoss(4, 8)
        >>> loss(torch.randn(2, 4, 6, 6), torch.randn(2, 8, 6, 6)).backward()
        >>> loss.adapter.weight.grad.shape
        torch.Size([8, 4, 1, 1])
    """

    own_grids = False  # the distiller brings both to one

    @checked
    def __init__(self, student_channels: Count, teacher_channels: Count, **options: Any) -> None:
        super().__init__(**options)
        self.adapter = nn.Conv2d(student_channels, teacher_channels, 1)

    def forward(self, feat_S: Tensor, feat_T: Tensor, label: Tensor | None = None) -> Tensor:
        """Loss of a batch, times its weight."""
        return self.loss_weight * self.function(self.adapter(feat_S), feat_T, label, **self.options)


@MODELS.register_module()
class FeatureKDDistiller(MethodDistiller):
    """Feature KD between one map of the student and one of the teacher; see :func:`feature_kd`.

    Channels come from the networks. Maps of two sizes are brought to one. It serves detectors too, with a tap
    of the backbone or the neck.

    Args:
        feature (str): Tap of both networks. Defaults to 'features': the decode head's map before dropout and
            classifier.
        student_feature (str | None): Tap of the student where it differs. Defaults to None.
        teacher_feature (str | None): Tap of the teacher where it differs. Defaults to None.
        loss_weight (float | str | dict): Weight of the loss, a number or ``'auto'``. Defaults to 1.0.
        schedule (dict | None): The loss over the iterations, see
            :class:`~kd_methods.distill.loss_weights.LossSchedule`. Defaults to None.
        resize (str): Whose map is resized where the sizes differ: ``'student'``, ``'teacher'`` or
            ``'never'``. Defaults to 'student'.
        init_cfg (dict | None): Initialisation. Defaults to None.

    Example:
        >>> distiller = dict(type='FeatureKDDistiller', feature='backbone.-1', loss_weight=2.0)
    """

    def __init__(
        self,
        feature: str = 'features',
        student_feature: str | None = None,
        teacher_feature: str | None = None,
        loss_weight: float | str | dict = 1.0,
        schedule: dict | None = None,
        resize: Resize = 'student',
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        check_unknown(type(self), options, FeatureKDLoss)
        cfg = dict(options, loss_weight=loss_weight, schedule=schedule)
        self.options = parse_loss('distiller', cfg, FeatureKDLoss)
        taps = dict(feature=dict(student=student_feature or feature, teacher=teacher_feature or feature))
        super().__init__(taps=taps, resize=resize, init_cfg=init_cfg)

    def configure(self, student: dict[str, Tap], teacher: dict[str, Tap]) -> None:
        cfg = dict(self.options)
        for side in ('student', 'teacher'):
            name = f'{side}_channels'
            cfg[name] = self.check_channels(name, 'feature', side, cfg.get(name))
        maps = dict(feat_S=self.from_student('feature'), feat_T=self.from_teacher('feature'))
        if decode_head(self.student_network) is not None:
            cfg.setdefault('ignore_index', ignored_label(self.student_network))
            maps['label'] = dict(from_data=COUNTED)
        add_parsed(self, 'loss_feature', FeatureKDLoss, cfg, **maps)
