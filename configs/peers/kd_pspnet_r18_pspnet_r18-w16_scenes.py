# Logit KD. reduction='mean' also divides by the number of classes; the weight 11 undoes that, so that
# the loss is the KL divergence per pixel.
_base_ = [
    '../_base_/datasets/scenes_seg.py', '../_base_/schedules/scenes_1k.py',
    '../_base_/default_runtime.py'
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(cfg_path='configs/baselines/pspnet_r18-w16_scenes.py'),
    teacher=dict(cfg_path='configs/baselines/pspnet_r18_scenes.py'),
    teacher_ckpt='work_dirs/pspnet_r18_scenes/best.pth',
    distiller=dict(
        type='mmrazor.ConfigurableDistiller',
        distill_losses=dict(
            loss_kd=dict(
                type='mmrazor.KLDivergence', tau=1.0, reduction='mean', loss_weight=11.0)),
        student_recorders=dict(
            logits=dict(type='ModuleOutputs', source='decode_head.conv_seg')),
        teacher_recorders=dict(
            logits=dict(type='ModuleOutputs', source='decode_head.conv_seg')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits')))))
