# Channel-wise distillation of the logits, with the temperature and weight of MMRazor's recipe.
cwd = dict(
    type='mmrazor.ConfigurableDistiller',
    distill_losses=dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence', tau=1.0, loss_weight=5.0)),
    student_recorders=dict(logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
    teacher_recorders=dict(logits=dict(type='mmrazor.ModuleOutputs', source='decode_head.conv_seg')),
    loss_forward_mappings=dict(
        loss_cwd=dict(
            preds_S=dict(from_student=True, recorder='logits'),
            preds_T=dict(from_student=False, recorder='logits'),
        )
    ),
)
