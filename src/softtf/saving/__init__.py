"""A learner on disk: one small safetensors file per task, loaded again bit for bit."""
