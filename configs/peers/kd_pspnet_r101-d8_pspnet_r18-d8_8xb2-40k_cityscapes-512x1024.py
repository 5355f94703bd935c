# Logit KD. reduction='mean' also divides by the number of classes; the weight 19 undoes that: the
# loss is the KL divergence per pixel.
_base_ = ['../i2ckd/i2ckd_pspnet_r101-d8_pspnet_r18-d8_8xb2-40k_cityscapes-512x1024.py']
model = dict(
    distiller=dict(
        _delete_=True,
        type='mmrazor.ConfigurableDistiller',
        distill_losses=dict(
            loss_kd=dict(
                type='mmrazor.KLDivergence', tau=1.0, reduction='mean', loss_weight=19.0)),
        student_recorders=dict(
            logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
        teacher_recorders=dict(
            logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits')))))
