"""One paper a module: its maths as functions, a registered loss, the distiller that wires it."""

from .c2vkd import C2VKDDistiller, PDDLoss, VLFDLoss
from .dmkd import DMKDDistiller, DMKDLoss
from .i2ckd import I2CKDDistiller, I2CKDLoss
from .lix import ARFDLoss, DWLDLoss, LIXDistiller

__all__ = [
    'ARFDLoss', 'C2VKDDistiller', 'DMKDDistiller', 'DMKDLoss', 'DWLDLoss', 'I2CKDDistiller', 'I2CKDLoss', 'LIXDistiller',
    'PDDLoss', 'VLFDLoss'
]
