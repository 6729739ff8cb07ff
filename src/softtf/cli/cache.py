"""`softtf cache`: show the folder of kept features, or remove them."""

from softtf.backbones.kept_features import LIMIT, cache_folder, cache_limit, clear, feature_files
from softtf.cli.options import Cache
from softtf.errors import UserError, unknown
from softtf.saying import note, say


def run(options: Cache) -> int:
    """Show where kept features are and how many bytes they take, or remove them all."""
    if options.action not in ("show", "clear"):
        raise unknown("action of softtf cache", options.action, ("show", "clear"))
    folder = cache_folder(options.feature_cache, note)
    if folder is None:
        raise UserError("no folder keeps features here; name one with --feature-cache")
    files = feature_files(folder)
    size = sum(files.values()) / 1e9
    if options.action == "clear":
        say(f"{folder}: removed {clear(folder)} files of features, {size:.3f} GB")
        return 0
    limit = cache_limit(note) / 1e9
    say(f"{folder}: {len(files)} files of features, {size:.3f} GB of at most {limit:g} GB (${LIMIT})")
    say("they are computed from your images, and reveal much about them; softtf cache clear removes them")
    return 0
