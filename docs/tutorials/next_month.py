# %% [markdown]
# # Next month's classes
#
# A frozen backbone is in production, and new classes come every month. What was learned before must not change. This
# notebook learns three months, one after another, with two methods, and measures what changes. It takes a minute.

# %%
from softtf import ContinualClassifier, DualPrompt, SoftMask, TrainConfig, load_source, split_by_class

train, test = load_source("digits")
train, test = train.per_class(25, seed=0), test.per_class(12, seed=0)  # so that it takes less time
months = split_by_class(train, test, num_tasks=5)[:3]
tests = [month.test for month in months]

# %% [markdown]
# ## The default
#
# The default keeps sums over each task's features. A month adds to the sums. The classifier of an old month sees new
# competitors: a photo of an old class can be taken for a new one, and this is the only way in which an answer changes.

# %%
model = ContinualClassifier("vit_tiny_patch8_64")
for count, month in enumerate(months, start=1):
    model.learn(month.train, name=f"month {count}", progress=False)
    result = model.evaluate(tests[:count], progress=False)
    print(count, {policy: round(values["acc"], 1) for policy, values in result.items()})

# %% [markdown]
# *oracle* is the accuracy with the task given: nobody can do better by a better guess of the task.
#
# ## Masks and prompts of each month
#
# The paper's method trains masks for each month and leaves those of earlier months as they are, bit for bit. We ask the
# first month's network for its answers before the second month and after it.

# %%
masks = ContinualClassifier(
    "vit_tiny_patch8_64",
    DualPrompt(g_layers="none", e_layers="11-12", adapt=SoftMask(layers="11-12")),
    TrainConfig(epochs=1, augment=False),
    inference="prompt-id",
)
masks.learn(months[0].train, progress=False)
photos = [months[0].test[i] for i in range(20)]
before = masks.predict_proba(photos, task=0)
masks.learn(months[1].train, progress=False)
after = masks.predict_proba(photos, task=0)
difference = (before - after[:, : before.shape[1]]).abs().max().item()
assert difference < 1e-6
before.shape, after.shape, difference

# %% [markdown]
# There are more columns now, as there are more classes; the softmax over more columns rounds the last digit of some
# probabilities otherwise. Where nobody tells the month, the task inference chooses among two.

# %%
print(masks.predict_task(photos))
masks.evaluate(tests[:2], ["prompt-id", "oracle"], progress=False)

# %% [markdown]
# Save after every month. `replace=True` changes the folder in one step: readers get the old version or the new one.

# %%
from pathlib import Path
from tempfile import mkdtemp

folder = Path(mkdtemp()) / "production"
model.save_pretrained(folder)
model.learn(split_by_class(train, test, num_tasks=5)[3].train, name="month 4", progress=False)
model.save_pretrained(folder, replace=True)
ContinualClassifier.from_pretrained(folder).num_tasks
