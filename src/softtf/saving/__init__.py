"""A learner on disk: one small safetensors file per task, loaded again bit for bit; earlier versions beside it."""

from softtf.saving.restore import Version, prune, restore, versions

__all__ = ["Version", "prune", "restore", "versions"]
