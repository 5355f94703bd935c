# Logit KD. reduction='mean' also divides by the number of classes: a config gives that number as
# loss_weight, and the loss is the KL divergence per pixel.
logit_kd = dict(
    type='mmrazor.ConfigurableDistiller',
    distill_losses=dict(loss_kd=dict(type='mmrazor.KLDivergence', tau=1.0, reduction='mean')),
    student_recorders=dict(logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
    teacher_recorders=dict(logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
    loss_forward_mappings=dict(
        loss_kd=dict(
            preds_S=dict(from_student=True, recorder='logits'),
            preds_T=dict(from_student=False, recorder='logits'),
        )
    ),
)
