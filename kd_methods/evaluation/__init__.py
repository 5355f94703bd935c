"""Metrics that mmseg and mmdet do not have."""

from kd_methods.evaluation.boundary import BoundaryIoUMetric

__all__ = ['BoundaryIoUMetric']
