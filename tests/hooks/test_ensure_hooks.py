"""Which hooks a training config gets by itself."""

from mmengine.config import Config

from kd_methods.hooks import ExactResumeHook, ensure_hooks

NAMES = [
    'NonFiniteLossHook',
    'StudentExportHook',
    'ExactResumeHook',
    'BadDataHook',
    'StopOnSignalHook',
    'LoggedAccuracyHook',
]


def test_adds_what_is_missing():
    """In place, once, beside the user's own."""
    cfg = Config(dict(custom_hooks=[dict(type='EMAHook'), dict(type='StudentExportHook')]))
    assert ensure_hooks(cfg) is cfg
    assert [h.type for h in cfg.custom_hooks] == ['EMAHook', 'StudentExportHook', NAMES[0], *NAMES[2:]]
    ensure_hooks(cfg)
    assert len(cfg.custom_hooks) == 7


def test_without_custom_hooks():
    """No list, or None."""
    for cfg in (Config(dict()), Config(dict(custom_hooks=None))):
        assert [h.type for h in ensure_hooks(cfg).custom_hooks] == NAMES


def test_classes_and_instances():
    """A hook that is given as a class or built already is there, too."""
    cfg = Config(dict(custom_hooks=[dict(type=ExactResumeHook)]))
    assert len(ensure_hooks(cfg).custom_hooks) == 6
    cfg.custom_hooks = [ExactResumeHook()]
    assert len(ensure_hooks(cfg).custom_hooks) == 6
