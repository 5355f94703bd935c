"""The student in a config."""

import copy

from mmengine.config import Config

from kd_methods.distill.channels import ChannelLayout, without_x
from kd_methods.networks.config import is_distillation, resolve_model_cfg


def student_config(cfg: Config) -> Config:
    """The plain config of the student: the same data and schedule, ``model`` the student's full dict.

    No teacher, no distiller, and none of MMRazor's loops and hooks are left in it, and no pipeline of
    validation and test loads an X that the student does not see. A plain config is copied."""
    cfg = copy.deepcopy(cfg)
    if not is_distillation(cfg):
        return cfg
    layout = ChannelLayout.parse(cfg.model.get('inputs'))
    model = resolve_model_cfg(cfg.model.architecture, 'model.architecture')
    if cfg.model.get('data_preprocessor') is not None:
        model['data_preprocessor'] = cfg.model.data_preprocessor
    if model.get('_scope_') is None and cfg.get('default_scope') is not None:
        model['_scope_'] = cfg.default_scope
    cfg.model = model
    val_loop = (cfg.get('val_cfg') or {}).get('type', '')
    loops = ('SingleTeacherDistillValLoop', 'SelfDistillValLoop')
    if isinstance(val_loop, str) and val_loop.split('.')[-1] in loops:
        cfg.val_cfg = dict(type='ValLoop')
    if layout is not None and layout.image_alone:
        for key in ('val_dataloader', 'test_dataloader', 'test_pipeline', 'tta_pipeline'):
            if cfg.get(key) is not None:
                cfg[key] = without_x(cfg[key])
    if cfg.get('custom_hooks'):
        names = [str(hook.get('type', '')).split('.')[-1] for hook in cfg.custom_hooks]
        cfg.custom_hooks = [h for h, name in zip(cfg.custom_hooks, names) if name != 'StopDistillHook']
    return cfg
