"""Figures of evaluation beside those of mmseg and mmdet."""

from .boundary import BoundaryIoUMetric

__all__ = ['BoundaryIoUMetric']
