"""Trackers: where the numbers and the accuracy matrices of a run go while it runs, chosen by `--track NAME`.

A file of this package is a tracker. One of the user's own is a class with the same methods in an imported file::

    @tracker("spoken", "a line on the screen for each line of the log")
    class Spoken(Tracker):
        def metrics(self, values, step):
            say(f"{step}: {values}")
"""

from softtf.tracking.base import TRACKERS, TrackedRun, Tracker, tracker
from softtf.tracking.mlflow import MLflow
from softtf.tracking.tensorboard import TensorBoard
from softtf.tracking.trackio import Trackio
from softtf.tracking.wandb import WandB

__all__ = ["TRACKERS", "MLflow", "TensorBoard", "TrackedRun", "Tracker", "Trackio", "WandB", "tracker"]
