"""What mmengine needs to be told about the onedl-* packages."""


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
