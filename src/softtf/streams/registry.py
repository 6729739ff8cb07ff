"""The data sets that softtf knows by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamInfo:
    """Where a known data set comes from and how it is usually split.

    Attributes:
        hub: its name on the Hugging Face Hub; "" for one that is built in.
        label_column: the column with its labels.
        num_tasks: the usual number of tasks.
        num_classes: the number of its classes.
        num_train: about how many training examples it has.
        description: one line for a list of data sets.
        image_column: the column with its images.
        split_train: the Hub's split to learn from.
        split_test: the Hub's split to test on; None where there is one split, of which a part is held out.
    """

    hub: str
    label_column: str
    num_tasks: int
    num_classes: int
    num_train: int
    description: str
    image_column: str = "image"
    split_train: str = "train"
    split_test: str | None = "test"


STREAMS: dict[str, StreamInfo] = {
    "digits": StreamInfo("", "", 5, 10, 1_438, "scikit-learn's handwritten digits, 8 x 8 pixels; needs no download"),
    "cifar100": StreamInfo("uoft-cs/cifar100", "fine_label", 10, 100, 50_000, "CIFAR-100, 32 x 32 pixels", "img"),
    "tiny-imagenet": StreamInfo(
        "zh-plus/tiny-imagenet", "label", 10, 200, 100_000, "Tiny-ImageNet, 64 x 64 pixels", split_test="valid"
    ),
    "imagenet-r": StreamInfo(
        "axiong/imagenet-r",
        "wnid",
        10,
        200,
        24_000,
        "ImageNet-R: art, cartoons and other renditions; a fixed fifth is held out for testing",
        split_train="test",
        split_test=None,
    ),
    "cub200": StreamInfo("Donghyun99/CUB-200-2011", "label", 5, 200, 5_994, "Caltech-UCSD Birds 200-2011"),
}
