"""A learner on disk: one small safetensors file per task, loaded again bit for bit; earlier versions beside it."""

from softtf.saving.earlier import Version, list_versions, prune_versions, restore_version

__all__ = ["Version", "list_versions", "prune_versions", "restore_version"]
