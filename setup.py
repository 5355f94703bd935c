"""Package description: ranges that should work; exact tested versions are in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Read ``__version__`` without importing the package, which would need torch and mmcv."""
    text = (ROOT / 'kd_methods' / '__init__.py').read_text(encoding='utf-8')
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    if match is None:
        raise RuntimeError("kd_methods/__init__.py: no line of the form __version__ = '1.2.3'")
    return match.group(1)


INSTALL_REQUIRES = [
    'torch>=2.6',
    'numpy>=2.0,<2.3',
    'onedl-mmengine>=0.10.12,<0.11',
    'onedl-mmcv>=2.3.6,<2.4',
    'onedl-mmdetection>=3.5.1,<3.6',
    'onedl-mmsegmentation>=1.4.2,<1.5',
    'mmrazor==1.0.0',
    'matplotlib>=3.8',
    'pillow>=10.0',
    'opencv-python-headless>=4.8,<4.13',
    'pycocotools>=2.0.8',
    'scipy>=1.13',
    'h5py>=3.11',
    'scikit-learn>=1.5',
    'psutil>=5.9',
    'tqdm>=4.60',
    'tensorboard>=2.15',
]

setup(
    name='kd_methods',
    version=read_version(),
    description='Knowledge distillation for dense prediction on OpenMMLab',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['kd_methods', 'kd_methods.*']),
    install_requires=INSTALL_REQUIRES,
    extras_require={
        'tests': ['pytest>=8.0', 'pytest-xdist>=3.5', 'ruff>=0.8'],
        'onnx': ['onnx>=1.16', 'onnxscript>=0.5', 'onnxruntime>=1.19'],
    },
)
