"""Whether a run's config.yaml still has the settings that the run was begun with: settings.json has them, sealed.

config.yaml is there to be read, copied and run again. A run that goes on with other settings would publish the results
of one method under the name of another.
"""

from pathlib import Path
from typing import Any

from softtf.config.dotted import first_difference
from softtf.config.tree import from_dict, to_dict
from softtf.errors import UserError
from softtf.files.plain_json import read_small
from softtf.runs.config import RunConfig
from softtf.runs.folder import SETTINGS, RunFolder
from softtf.saving.header import Header
from softtf.saving.manifest import seal, unsealed


def write_settings(folder: RunFolder, config: RunConfig) -> None:
    """Write the settings of a run that begins."""
    folder.write_text(SETTINGS, seal(_lasting(config)))


def check_settings(folder: RunFolder, config: RunConfig) -> None:
    """Refuse a run whose config.yaml has other settings than it was begun with.

    The machine's own settings may differ: the device, the feature cache, the trackers and where the data lie (data.json
    knows the data). Runs of earlier versions have no settings.json, and are not checked.

    Raises:
        UserError: it names the first setting that differs; or settings.json is not the file that was written.
    """
    file = folder.path / SETTINGS
    if not file.exists():
        return
    try:
        then = _lasting(from_dict(RunConfig, unsealed(read_small(file), file), str(file)))
    except UserError as error:
        raise UserError(f"{error}; remove it to go on by config.yaml alone") from None
    _check_same(folder.path, "the run", _lasting(config), then)


def check_header(config: RunConfig, header: Header, path: Path) -> None:
    """Refuse a run whose config.yaml has other settings than its learner was begun with.

    Raises:
        UserError: it names the first setting that differs.
    """
    then = to_dict(header)
    said = {field: then[field] for field in ("seed", "backbone", "learner", "train") if then[field] is not None}
    _check_same(path, "the learner beside it", to_dict(config), said)  # headers of softtf 0.1 may not tell the training


def _check_same(path: Path, what: str, now: dict[str, Any], then: dict[str, Any]) -> None:
    for field in then:
        if then[field] != now[field]:
            name, mine, its = first_difference(now[field], then[field], field)
            raise UserError(
                f"{path / 'config.yaml'} says {name}: {mine!r}, but {what} was begun with {its!r}; a run keeps its"
                " settings: put the file back, or begin another run"
            )


def _lasting(config: RunConfig) -> dict[str, Any]:
    """Return the settings that belong to the run and not to the machine."""
    tree = to_dict(config)
    del tree["device"], tree["feature_cache"], tree["track"], tree["stream"]["source"]
    return tree
