"""Logit KD as an addition to another method: KL divergence between the class probabilities of each pixel."""

from typing import Any

from kd_methods.distill.distiller import MethodDistiller
from kd_methods.distill.loss_config import check_weight
from kd_methods.utils.options import Option, Positive, check_names


def parse_logit_kd(cfg: Any, key: str = 'distiller.logit_kd') -> dict | None:
    """Read a distiller's ``logit_kd``: None, a weight, or a dict of ``loss_weight``, ``tau``, ``schedule``.

    Example:
        >>> parse_logit_kd(0.5)
        {'loss_weight': 0.5, 'tau': 1.0, 'schedule': None}
    """
    if cfg is None or cfg is False:
        return None
    weight_key = f'{key}.loss_weight'
    if not isinstance(cfg, dict) or cfg.get('type') == 'auto':
        cfg, weight_key = dict(loss_weight=cfg), key
    full = dict(loss_weight=1.0, tau=1.0, schedule=None)
    check_names(f'{key}:', cfg, set(full))
    full.update(cfg)
    check_weight(weight_key, full['loss_weight'])
    Option.read(Positive).check(key, 'tau', full['tau'])
    return full


def add_logit_kd(distiller: MethodDistiller, loss_weight: Any, tau: float, schedule: dict | None) -> None:
    """Add ``loss_kd`` on the tap ``'logits'`` to a distiller; to be called in its ``configure``.

    MMRazor's ``reduction='mean'`` divides by the number of classes too; the weight undoes that.
    """
    if isinstance(loss_weight, (int, float)):
        loss_weight = loss_weight * distiller.num_classes()
    cfg = dict(type='mmrazor.KLDivergence', tau=tau, reduction='mean', loss_weight=loss_weight)
    preds = dict(preds_S=distiller.from_student('logits'), preds_T=distiller.from_teacher('logits'))
    distiller.add_loss('loss_kd', cfg, schedule, **preds)
