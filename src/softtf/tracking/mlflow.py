"""MLflow: files or a database on this machine, or the server that MLFLOW_TRACKING_URI names."""

import os
from collections.abc import Mapping

from PIL.Image import Image

from softtf.tracking.base import TrackedRun, Tracker, library, tracker

ID = "softtf.id"
"""The tag of a run that a run goes on in."""


@tracker("mlflow", "MLflow, where MLFLOW_TRACKING_URI says; `mlflow ui` opens it")
class MLflow(Tracker):
    """Writes into the experiment `softtf`, or what MLFLOW_EXPERIMENT_NAME names.

    MLflow numbers its runs itself, so a tag has our id.
    """

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        mlflow = library("mlflow")
        self.client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "softtf")
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name)
        begun = self.client.search_runs([experiment], f"tags.`{ID}` = '{run.id}'")
        if begun:
            self.id = begun[0].info.run_id
            self.client.update_run(self.id, "RUNNING")
        else:
            self.id = self.client.create_run(experiment, run_name=run.name, tags={ID: run.id}).info.run_id
            for setting, value in run.settings.items():
                self.client.log_param(self.id, setting, value)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log the numbers; a colon, as in `gradient-id:batch24`, becomes a point."""
        for name, value in values.items():
            self.client.log_metric(self.id, name.replace(":", "."), value, step=step)

    def picture(self, name: str, image: Image, step: int) -> None:
        """Log an image."""
        self.client.log_image(self.id, image, key=name.replace(":", "."), step=step)

    def close(self) -> None:
        """Say that the run has ended."""
        self.client.set_terminated(self.id)
