# Channel-wise distillation of the logits, with the temperature and weight of MMRazor's recipe.
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
            loss_cwd=dict(
                type='mmrazor.ChannelWiseDivergence', tau=1.0, loss_weight=5.0)),
        student_recorders=dict(
            logits=dict(type='ModuleOutputs', source='decode_head.conv_seg')),
        teacher_recorders=dict(
            logits=dict(type='ModuleOutputs', source='decode_head.conv_seg')),
        loss_forward_mappings=dict(
            loss_cwd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits')))))
