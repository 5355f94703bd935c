"""One paper a module: its maths as functions, a registered loss, the distiller that wires it."""

from .c2vkd import C2VKDDistiller, PDDLoss, VLFDLoss
from .i2ckd import I2CKDDistiller, I2CKDLoss

__all__ = ['C2VKDDistiller', 'I2CKDDistiller', 'I2CKDLoss', 'PDDLoss', 'VLFDLoss']
