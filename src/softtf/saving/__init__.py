"""A learner on disk: one small safe file a task, exact reload, one version after another."""
