"""A distillation run with an automatic weight and a schedule resumes exactly."""

import pytest


@pytest.mark.parametrize('stop', [2, 5], ids=['while the weight is being found', 'after it was fixed'])
def test_auto_weight_and_schedule(tiny_cfg, runs, distill_model, tiny_teacher, tmp_path, stop):
    from mmengine.config import Config

    student = Config.fromfile(str(tiny_teacher.config)).model.to_dict()
    model = distill_model(student)
    model['distiller'] = dict(
        type='I2CKDDistiller',
        loss_weight=dict(type='auto', ratio=0.3, iters=4),
        schedule=dict(warmup=2, end=20, decay='linear'),
    )
    cfg = tiny_cfg(iters=8, model=model, custom_hooks=[dict(type='ExactResumeHook')])
    cfg.default_hooks.checkpoint.interval = 1
    assert runs.compare_with_resumed(cfg, tmp_path, stop=stop) == []
