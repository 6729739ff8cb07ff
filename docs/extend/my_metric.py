"""A metric: how well tasks after the first are learned when they come."""

from softtf.evaluation import metric


@metric("plasticity", "Plasticity %")
def plasticity(matrix):
    later = matrix.a.diagonal()[1:]
    return float(later.mean()) if len(later) else None
