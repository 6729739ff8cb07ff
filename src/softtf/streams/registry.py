"""The data sets that softtf knows by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamInfo:
    """The origin of a known data set and its usual split.

    Attributes:
        hub: its name on the Hugging Face Hub; "" if it is built in.
        label_column: the column of its labels.
        num_tasks: the usual number of tasks.
        num_classes: the number of its classes.
        num_train: about how many training examples it has.
        description: one line for a list of data sets.
        image_column: the column of its images or texts; `a+b` joins two columns by a line end.
        split_train: the Hub's split to learn from.
        split_test: the Hub's split to test on; None if there is only one split, of which a part is held out.
        class_names: the names of its labels 0, 1, ..., if they replace the data set's own.
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
    class_names: tuple[str, ...] | None = None


STARS = ("very negative", "negative", "neutral", "positive", "very positive")
YAHOO = "community-datasets/yahoo_answers_topics"

STREAMS: dict[str, StreamInfo] = {
    "digits": StreamInfo("", "", 5, 10, 1_438, "scikit-learn's handwritten digits, 8 x 8 pixels; needs no download"),
    "docstrings": StreamInfo(
        "", "", 5, 10, 900, "docstrings of ten modules of Python's standard library, by module; needs no download"
    ),
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
    "agnews": StreamInfo("fancyzhx/ag_news", "label", 2, 4, 120_000, "AG News: the topic of a news item", "text"),
    "yelp": StreamInfo(
        "Yelp/yelp_review_full", "label", 1, 5, 650_000, "Yelp reviews, 1 to 5 stars", "text", class_names=STARS
    ),
    "amazon": StreamInfo(
        "SetFit/amazon_reviews_multi_en",
        "label",
        1,
        5,
        200_000,
        "Amazon reviews, 1 to 5 stars; those of Zhang et al. (2015) are not on the Hub: give them as a folder",
        "text",
        class_names=STARS,
    ),
    "dbpedia": StreamInfo(
        "fancyzhx/dbpedia_14",
        "label",
        7,
        14,
        560_000,
        "DBPedia: what kind of thing an article is about",
        "title+content",
    ),
    "yahoo": StreamInfo(
        YAHOO,
        "topic",
        5,
        10,
        1_400_000,
        "Yahoo Answers: the topic of a question with its best answer",
        "question_title+question_content+best_answer",
    ),
}
