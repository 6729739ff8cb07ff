"""The places of a run's data, backbone and features, and its device, as the user gives them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from softtf.backbones.kept_features import OFF
from softtf.backbones.load import BackboneSpec
from softtf.errors import UserError
from softtf.runs.config import RunConfig
from softtf.streams.remote import is_url


@dataclass(frozen=True)
class Places:
    """Where a run's parts are, as the user says; the folder itself may come from anybody.

    source: its data, if they were moved. backbone: as for `load_named`. feature_cache: as in `RunConfig`; None is the
    user's own, whatever the folder names. device: as in `RunConfig`. Of source and device, None is as the folder says.
    """

    source: str | None = None
    backbone: str | BackboneSpec | None = None
    feature_cache: str | None = None
    device: str | None = None

    def in_place_of(self, config: RunConfig, note: Callable[[str], None]) -> RunConfig:
        """Return a run's settings with these places; a feature folder that is not used is noted.

        Raises:
            UserError: the run's data are at a URL, and `source` does not give it.
        """
        named = config.stream.source or ""
        if self.source is None and is_url(named):
            raise UserError(f"the run names {named} as its data; a URL is asked only if you give it: --source {named}")
        if self.source is not None:
            config = replace(config, stream=replace(config.stream, source=self.source).located())
        if config.feature_cache not in (None, OFF, self.feature_cache):
            note(f"the run's feature cache {config.feature_cache} is used only if you give it with --feature-cache")
        mine = OFF if config.feature_cache == OFF and self.feature_cache is None else self.feature_cache
        return replace(config, feature_cache=mine, device=self.device or config.device)


NO_PLACES = Places()
