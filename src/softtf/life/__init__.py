"""The life of a classifier: its tasks can be taken out, put in, renamed, compared and accounted for."""

from softtf.life.changing import Living

__all__ = ["Living"]
