"""One paper a module: its maths as functions, a registered loss, the distiller that wires it."""

from .i2ckd import I2CKDDistiller, I2CKDLoss

__all__ = ['I2CKDDistiller', 'I2CKDLoss']
