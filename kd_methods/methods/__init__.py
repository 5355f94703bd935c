"""One paper a module: its maths as functions, a registered loss, the distiller that wires it."""

from .bcd import BCDDistiller, BoundaryDistillLoss, ContextDistillLoss
from .c2vkd import C2VKDDistiller, PDDLoss, VLFDLoss
from .dmkd import DMKDDistiller, DMKDLoss
from .i2ckd import I2CKDDistiller, I2CKDLoss
from .lix import ARFDLoss, DWLDLoss, LIXDistiller

__all__ = [
    'ARFDLoss', 'BCDDistiller', 'BoundaryDistillLoss', 'C2VKDDistiller', 'ContextDistillLoss', 'DMKDDistiller', 'DMKDLoss',
    'DWLDLoss', 'I2CKDDistiller', 'I2CKDLoss', 'LIXDistiller', 'PDDLoss', 'VLFDLoss'
]
