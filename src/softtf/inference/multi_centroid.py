"""MCG: the task with the nearest of several centroids (Cai et al., CVPR 2023); see `softtf.statistics.centroids`."""

from torch import Tensor

from softtf.inference.base import TaskInference
from softtf.learners.base import Learner
from softtf.network import SharedPass
from softtf.statistics import TaskCentroids


class MultiCentroidGate(TaskInference):
    """Reads centroids of frozen features, which a learner gathers if its spec asks for them (`LearnerSpec.mcg`)."""

    name = "mcg"
    title = "MCG"
    needs_query = True
    log_probabilities = True

    def scores(self, learner: Learner, shared: SharedPass) -> Tensor:
        """Return log P(t|x) [batch, tasks]: log softmax of minus the squared distances over the temperature."""
        statistics, known = learner.statistics[self.name], learner.gathered[self.name]
        assert isinstance(statistics, TaskCentroids)
        near = statistics.nearness(known, shared.query)
        return (near / known["temperature"].to(near)).log_softmax(1)
