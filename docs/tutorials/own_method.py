# %% [markdown]
# # Your own method
#
# A method is one Python class. This one answers by the class whose mean feature is nearest by cosine.
# `ClosedFormLearner` does the rest: it computes the frozen backbone's features once, and calls `fit` for each task.

# %%
from dataclasses import dataclass

from torch.nn.functional import normalize, one_hot

from softtf.learners import ONE_PASS, ClosedFormLearner, LearnerSpec


@dataclass(frozen=True)
class CosineMeans(LearnerSpec, kind="cosine-means"):
    title = "Cosine means"
    training = ONE_PASS

    def build(self, backbone, seed):
        return CosineMeansLearner(backbone, (), seed)


class CosineMeansLearner(ClosedFormLearner):
    def fit(self, features, columns, labels):
        sums = one_hot(self.own(columns)).to(features).T @ features
        self.network.heads.slot(self.num_tasks - 1)["weight"].data = normalize(sums)
        return {}


# %% [markdown]
# `check_learner` tries the class on a tiny backbone: it must keep what it learned, answer each sample alone, and give
# the same answers after it was saved and loaded.

# %%
from softtf.testing import check_learner

check_learner(CosineMeans())

# %%
from softtf import ContinualClassifier, load_source, split_by_class

train, test = load_source("digits")
train, test = train.per_class(40, seed=0), test.per_class(15, seed=0)  # so that it takes less time
stream = split_by_class(train, test, num_tasks=5)
model = ContinualClassifier("vit_tiny_patch8_64", CosineMeans())
for task in stream:
    model.learn(task.train, progress=False)
model.evaluate([task.test for task in stream], progress=False)

# %% [markdown]
# In a file of its own the class is a method of the command line:
#
# ```bash
# softtf run quickstart --import my_method.py --method cosine-means
# softtf table methods --import my_method.py --rows "Cosine means"
# ```
#
# [Add your own](../extend/README.md) has an adaptation, a task inference, a metric, data and a backbone in the same way.
