# DIST (Huang et al., arXiv 2205.10536) on the logits: relations between classes, and between pixels.
dist = dict(
    type='MethodDistiller',
    taps=dict(logits='logits'),
    distill_losses=dict(loss_dist=dict(type='mmrazor.DISTLoss', tau=1.0, loss_weight=1.0)),
    loss_forward_mappings=dict(
        loss_dist=dict(
            logits_S=dict(from_student=True, recorder='logits'),
            logits_T=dict(from_student=False, recorder='logits'),
        )
    ),
)
