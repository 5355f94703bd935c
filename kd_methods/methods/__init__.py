"""One paper a module: its maths as functions, a registered loss, the distiller that wires it."""

from kd_methods.methods.bcd import BCDDistiller, BoundaryDistillLoss, ContextDistillLoss
from kd_methods.methods.c2vkd import C2VKDDistiller, PDDLoss, VLFDLoss
from kd_methods.methods.dmkd import DMKDDistiller, DMKDLoss
from kd_methods.methods.feature_kd import FeatureKDDistiller, FeatureKDLoss
from kd_methods.methods.i2ckd import I2CKDDistiller, I2CKDLoss
from kd_methods.methods.lix import ARFDLoss, DWLDLoss, LIXDistiller
from kd_methods.methods.logit_kd import LogitKDDistiller, LogitKDLoss

__all__ = [
    'ARFDLoss',
    'BCDDistiller',
    'BoundaryDistillLoss',
    'C2VKDDistiller',
    'ContextDistillLoss',
    'DMKDDistiller',
    'DMKDLoss',
    'DWLDLoss',
    'FeatureKDDistiller',
    'FeatureKDLoss',
    'I2CKDDistiller',
    'I2CKDLoss',
    'LIXDistiller',
    'LogitKDDistiller',
    'LogitKDLoss',
    'PDDLoss',
    'VLFDLoss',
]
