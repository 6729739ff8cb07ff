"""Settings: frozen dataclasses that are read strictly from YAML, JSON and the command line."""
