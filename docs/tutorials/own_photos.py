# %% [markdown]
# # Your own photos
#
# You have folders of photos, one folder a class. This notebook makes such folders, learns them as two tasks, asks about
# new photos and saves the classifier. It takes half a minute on a CPU. To use your own photos, set `photos` to your
# folder and leave out the first cell.

# %%
from pathlib import Path
from tempfile import mkdtemp

from PIL import Image
from sklearn.datasets import load_digits

photos = Path(mkdtemp()) / "photos"
digits = load_digits()
names = ["zero", "one", "two", "three"]
for label, name in enumerate(names):
    (photos / name).mkdir(parents=True)
    for number in (digits.target == label).nonzero()[0][:40]:
        pixels = (digits.images[number] * 15).astype("uint8")
        Image.fromarray(pixels).resize((32, 32)).save(photos / name / f"{number}.png")
sorted(path.name for path in photos.iterdir())

# %% [markdown]
# `load_source` reads the folder. There is no folder `test`, so it holds out a fifth of every class. `split_by_class`
# deals the classes to tasks, in alphabetical order.

# %%
from softtf import ContinualClassifier, load_source, split_by_class

train, test = load_source(str(photos))
stream = split_by_class(train, test, num_tasks=2)
[task.classes for task in stream]

# %% [markdown]
# One call of `learn` is one task. With no method named, the classifier uses the default: it goes once through the photos,
# trains nothing and keeps no photo.

# %%
model = ContinualClassifier("vit_tiny_patch8_64")  # in the package; or any plain ViT of timm, by its name
for task in stream:
    model.learn(task.train, progress=False)
model.evaluate([task.test for task in stream], progress=False)

# %% [markdown]
# The key of the result names the policy: *per-sample* means that each photo was answered alone. `acc` is the mean
# accuracy of the tasks in percent, and `task_identity` is how often the task of the answer was right.

# %%
paths = sorted((photos / "three").glob("*.png"))[:3]
print(model.predict(paths), model.predict_proba(paths).max(1))
model.predict(paths)

# %% [markdown]
# A saved classifier is a folder with one small file per task. Loaded again, it gives the same answers, bit for bit.

# %%
model.save_pretrained(photos.parent / "learner")
again = ContinualClassifier.from_pretrained(photos.parent / "learner")
assert again.predict(paths) == model.predict(paths)
sorted((path.name, path.stat().st_size) for path in (photos.parent / "learner").iterdir())

# %% [markdown]
# The same on the command line, with a run folder that holds every number:
#
# ```bash
# softtf run own-images --stream.source photos --stream.num-tasks 2 --output runs/photos
# softtf predict runs/photos photos/three
# ```
