# BCD: boundaries of all maps of the backbones, context of their last ones.
bcd = dict(type='BCDDistiller', boundary=dict(loss_weight=10.0), context=dict(loss_weight=1.0))
