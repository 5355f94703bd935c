"""The student in a config."""

import copy

from mmengine.config import Config

from kd_methods.distill.channels import ChannelLayout, without_x
from kd_methods.networks.config import is_distillation, load_config, resolve_model_cfg


def student_config(cfg: Config) -> Config:
    """The plain config of the student: the same data and schedule, ``model`` the student's full dict.

    No teacher, no distiller, and none of MMRazor's loops and hooks are left in it, and no pipeline of
    validation and test loads an X that the student does not see. What the student's own config imports
    (``custom_imports``) is imported, and a ``data_preprocessor`` beside the model is put into it, as by
    mmengine's Runner. Else a plain config is copied."""
    cfg = copy.deepcopy(cfg)
    if cfg.get('model') is not None and cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    if not is_distillation(cfg):
        return cfg
    cfg_path = cfg.model.architecture.get('cfg_path')
    if cfg_path is not None:
        _take_imports(cfg, load_config(cfg_path, 'model.architecture.cfg_path'))
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


def imported_modules(cfg: Config) -> list[str]:
    """Modules that a config imports (``custom_imports``)."""
    modules = (cfg.get('custom_imports') or {}).get('imports') or []
    return [modules] if isinstance(modules, str) else list(modules)


def _take_imports(cfg: Config, source: Config) -> None:
    """Let a config import what another one does, too."""
    modules = list(dict.fromkeys([*imported_modules(cfg), *imported_modules(source)]))
    if modules:
        lenient = any((c.get('custom_imports') or {}).get('allow_failed_imports') for c in (cfg, source))
        cfg.custom_imports = dict(imports=modules, allow_failed_imports=bool(lenient))
