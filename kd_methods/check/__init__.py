"""A look at a config before it is trained: what it is made of, what one step does, what is wrong with it."""

from kd_methods.check.run import check_config, check_places
from kd_methods.utils.report import Report

__all__ = ['Report', 'check_config', 'check_places']
