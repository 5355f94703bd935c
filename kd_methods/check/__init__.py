"""A look at a config before it is trained: what it is made of, what one step does, what is wrong with it."""
from kd_methods.core.report import Report

from .run import check_config, check_places

__all__ = ['Report', 'check_config', 'check_places']
