# Logit KD. reduction='mean' also divides by the number of classes; the weight 11 undoes that: the
# loss is the KL divergence per pixel.
_base_ = ['../c2vkd/c2vkd_deeplabv3plus_r18_segformer_mit-e16_scenes.py']
model = dict(
    distiller=dict(
        _delete_=True,
        type='mmrazor.ConfigurableDistiller',
        distill_losses=dict(
            loss_kd=dict(
                type='mmrazor.KLDivergence', tau=1.0, reduction='mean', loss_weight=11.0)),
        student_recorders=dict(
            logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
        teacher_recorders=dict(
            logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits')))))
