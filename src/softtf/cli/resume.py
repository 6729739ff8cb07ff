"""`softtf resume`: continue a stopped run."""

from softtf.cli.options import Resume
from softtf.cli.quickstart import MARKER, compare_methods, finish
from softtf.cli.results import show
from softtf.devices.launch import launched
from softtf.devices.processes import join
from softtf.errors import UserError
from softtf.runs.folder import RunFolder
from softtf.runs.places import NO_PLACES, Places
from softtf.screen import Screen
from softtf.sweeps.work import resumed


def run(options: Resume) -> int:
    """Continue a stopped run or quickstart."""
    places = Places(options.source, options.backbone, options.feature_cache, options.device)
    console = Screen(quiet=options.quiet)
    if (options.folder / MARKER).exists():
        if launched() > 1:
            raise UserError("a quickstart runs in one process; start it without torchrun and accelerate launch")
        if places != NO_PLACES:
            raise UserError("a quickstart takes no place of data, backbone, features or device: all is built in")
        compare_methods(options.folder, None, console)
        return 0
    folder, config = RunFolder.open(options.folder)
    join(options.device or config.device)
    rows = finish(lambda: resumed(folder.path, console, places), folder.path, folder.path)
    show(rows, config, folder.path, console)
    return 0
