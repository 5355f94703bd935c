"""What mmengine needs to be told about the packages that are installed here."""

import importlib.util
from pathlib import Path


def cure_package_names() -> None:
    """Let config paths like ``mmseg::...`` find the installed packages.

    mmengine looks ``mmseg`` up as the distribution ``mmsegmentation`` and, not finding it, installs
    that with pip, over the files of ``onedl-mmsegmentation``.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE.update(mmseg='onedl-mmsegmentation', mmdet='onedl-mmdetection')


def quiet_onedl() -> None:
    """Keep mmseg.datasets and mmdet.datasets from printing that OneDL's data client is missing.

    They import ``print_log`` right before they call it, so replacing it is enough, also when they
    are imported later, by a registry's look-up during a training run.
    """
    import mmengine.logging

    original = mmengine.logging.print_log
    if getattr(original, 'drops_onedl', False):
        return

    def print_log(msg, *args, **kwargs) -> None:
        if not str(msg).startswith('Could not import OneDL'):
            original(msg, *args, **kwargs)

    print_log.__doc__ = original.__doc__
    print_log.drops_onedl = True
    mmengine.logging.print_log = print_log


def find_torchvision_weights() -> None:
    """Let ``torchvision://resnet50`` load without torchvision, which only knows the addresses.

    mmdet's backbones start from such weights. mmengine asks torchvision for their addresses, but has a list
    of those that configs name; torch fetches the files.
    """
    if importlib.util.find_spec('torchvision') is not None:
        return
    from mmengine import hub
    from mmengine.fileio import load
    from mmengine.runner import checkpoint

    addresses = Path(hub.__file__).with_name('torchvision_0.12.json')
    checkpoint.get_torchvision_models = lambda: _Addresses(load(addresses))


class _Addresses(dict):
    """Addresses of torchvision's weights by name."""

    def __missing__(self, name: str) -> str:
        known = f'such as {[n for n in self if n.startswith("resnet")]}'
        what = f'without torchvision only the names of its version 0.12 are known, {known}'
        raise KeyError(f'torchvision://{name}: {what}. Take one of these, or install torchvision.')


def end_workers(*loops: object) -> None:
    """End the workers of loops that will not go on.

    When the garbage collector finds their iterators, in no order, torch waits for each up to ten seconds.
    """
    for loop in loops:
        loader = getattr(loop, 'dataloader', None)
        infinite = getattr(loop, 'dataloader_iterator', None)
        iterators = getattr(infinite, '_iterator', None), getattr(loader, '_iterator', None)
        for iterator in iterators:  # neither package has a public name for it
            if hasattr(iterator, '_shutdown_workers'):
                iterator._shutdown_workers()
        for owner in (infinite, loader):
            if getattr(owner, '_iterator', None) is not None:
                owner._iterator = None
