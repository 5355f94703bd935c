"""Figures of evaluation beside those of mmseg and mmdet."""

from kd_methods.evaluation.boundary import BoundaryIoUMetric

__all__ = ['BoundaryIoUMetric']
