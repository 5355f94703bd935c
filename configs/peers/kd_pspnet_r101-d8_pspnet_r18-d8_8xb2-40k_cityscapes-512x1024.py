# Logit KD. reduction='mean' also divides by the number of classes; the weight 19 undoes that, so that
# the loss is the KL divergence per pixel.
_base_ = [
    '../_base_/datasets/cityscapes_512x1024.py',
    '../_base_/schedules/schedule_40k_b16.py',
]
model = dict(
    type='FrozenTeacherDistill',
    architecture=dict(
        cfg_path='configs/baselines/pspnet_r18-d8_8xb2-40k_cityscapes-512x1024.py'),
    teacher=dict(
        cfg_path='configs/baselines/pspnet_r101-d8_8xb2-40k_cityscapes-512x1024.py',
        pretrained=False),
    teacher_ckpt='work_dirs/pspnet_r101-d8_8xb2-40k_cityscapes-512x1024/best.pth',
    distiller=dict(
        type='mmrazor.ConfigurableDistiller',
        distill_losses=dict(
            loss_kd=dict(
                type='mmrazor.KLDivergence', tau=1.0, reduction='mean', loss_weight=19.0)),
        student_recorders=dict(
            logits=dict(type='ModuleOutputs', source='decode_head.conv_seg')),
        teacher_recorders=dict(
            logits=dict(type='ModuleOutputs', source='decode_head.conv_seg')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits')))))
