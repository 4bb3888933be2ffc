"""Where a classifier of images errs: by class and brightness, by what it mistakes for what, and picture by picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from bonafide.evaluation.classification_panels import calibration, classes, confusion
from bonafide.evaluation.estimates import Sums, headline
from bonafide.evaluation.panels import Group, Kind, Panel, Picture, columns
from bonafide.evaluation.slices import Named, number_names, string_names
from bonafide.evaluation.statistics import bootstrap, by_group
from bonafide.images.resize import fit
from bonafide.images.thumbnails import data_uri
from bonafide.project.arrays import Floats, Ints
from bonafide.project.paths import MODEL
from bonafide.project.randomness import generator
from bonafide.protocol import Split
from bonafide.tasks.image_classification import score

SIDE = 48  # pixels of a picture at most: all of them take up to a megabyte of evaluation.json
WRONG, RIGHT, UNSURE = 60, 20, 20  # pictures that are kept; the report shows fewer of the first
PAIRS, EXAMPLES = 8, 5  # of confused classes, and pictures of each pair
EXPLAINED = 6  # pictures of right predictions, and of wrong ones, that saliency is drawn of
NEAR = "near_duplicate"  # the validated column, null for what is like no image of train
NOVELTY = ("near-duplicate", "novel")


def slices(split: Split) -> Mapping[str, Named]:
    """By class, by quartiles of brightness and, where validation looked for them, by near-duplicates of train."""
    pixels = split.examples["pixels"]
    brightness = np.array([np.asarray(image).mean() for image in pixels])
    found = {
        "class": string_names(split.table["label"].to_pylist()),
        "brightness": number_names(np.round(brightness)),
    }
    if NEAR in split.table.column_names:
        found["novelty"] = ([NOVELTY[int(known)] for known in novel(split)], [*NOVELTY])
    return found


def novel(split: Split) -> npt.NDArray[np.bool_]:
    """Whether each row is like no image of train, (n,)."""
    return np.array([other is None for other in split.table[NEAR].to_pylist()], dtype=np.bool_)


def panels(split: Split, outputs: Floats, sums: Sums, params: Any) -> list[Panel]:
    """Confusion, calibration, classes; what is left without near-duplicates; and pictures where they are shown."""
    labels, targets = params.task.labels, np.asarray(split.examples["labels"])
    found = [
        confusion(targets, outputs, labels),
        calibration(targets, outputs, params.evaluate.calibration_bins),
        classes(sums, labels),
    ]
    if NEAR in split.table.column_names and not novel(split).all():
        found.append(without_near_duplicates(split, sums, params))
    return found + (pictures(Album(split, outputs, labels)) if split.shown else [])


def without_near_duplicates(split: Split, sums: Sums, params: Any) -> Panel:
    """Each metric on all rows, and on those that are no near-duplicates."""
    parts = {"All images": np.ones(len(sums.rows), dtype=np.bool_), "Novel images": novel(split)}
    parts["Near-duplicates"] = ~parts["Novel images"]
    groups, settings = split.table["group"].to_pylist(), score.settings(params)
    rows = []
    for name, chosen in parts.items():
        if chosen.any():
            part = sums.rows[chosen]
            grouped = by_group(part, [group for group, kept in zip(groups, chosen, strict=True) if kept])
            draws = bootstrap(grouped, len(sums.draws), generator(params.seed, NEAR, name))
            found = headline(
                Sums(part, grouped, draws), lambda s: score.metrics(s, settings), score.METRICS, score.RATE
            )
            rows.append([name, len(part), *(found[metric.name] for metric in score.METRICS)])
    names: dict[str, Kind] = {metric.words[0].upper() + metric.words[1:]: "estimate" for metric in score.METRICS}
    return {
        "kind": "table",
        "title": "Without near-duplicates",
        "caption": "What is left when images that nearly equal one of train go: they can be known by heart",
        "columns": columns({"Of": "name", "Images": "count", **names}),
        "rows": rows,
    }


class Album:
    """A split's images with what the model says of them."""

    def __init__(self, split: Split, outputs: Floats, labels: Sequence[str]) -> None:
        """Outputs are class probabilities (n, classes)."""
        self.pixels, self.labels = split.examples["pixels"], labels
        self.ids = split.table["id"].to_pylist()
        self.targets: Ints = np.asarray(split.examples["labels"])
        self.predictions, self.confidence = outputs.argmax(axis=1), outputs.max(axis=1)
        second, first = np.sort(outputs, axis=1)[:, -2:].T
        self.margins: Floats = first - second
        self.side = min(SIDE, self.pixels.shape[1])

    def rows(self, *, right: bool) -> list[int]:
        """Those that are predicted right, or wrong."""
        found: list[int] = np.flatnonzero((self.predictions == self.targets) == right).tolist()
        return found

    def surest(self, rows: Sequence[int]) -> list[int]:
        """The most confident first; ties by id."""
        return sorted(rows, key=lambda row: (-self.confidence[row], self.ids[row]))

    def sample(self, rows: Sequence[int]) -> list[int]:
        """In an order by hash of their ids, whatever the order of the split."""
        return sorted(rows, key=lambda row: sha256(self.ids[row].encode()).digest())

    def picture(self, row: int, *more: npt.NDArray[np.uint8]) -> Picture:
        """An image as the model sees it, with others beside it, and what it is taken for."""
        images = (np.asarray(self.pixels[row]), *more)
        true, said = self.labels[self.targets[row]], self.labels[self.predictions[row]]
        sure = f"{100 * self.confidence[row]:.0f}%"
        words = [f"{said} {sure}"] if true == said else [f"{said} {sure}", f"true: {true}"]
        return {"images": [data_uri(fit(image, self.side, "stretch")) for image in images], "words": words}

    def gallery(self, title: str, caption: str, groups: Mapping[str, Sequence[int]]) -> Panel:
        """Rows as pictures, in groups."""
        made: list[Group] = [
            {"title": name, "items": [self.picture(row) for row in rows]} for name, rows in groups.items()
        ]
        return {"kind": "gallery", "title": title, "caption": caption, "side": self.side, "groups": made}


def pictures(album: Album) -> list[Panel]:
    """Right, wrong and unsure images, confused classes, and where the model looks; only what there is."""
    right, wrong = album.sample(album.rows(right=True)), album.surest(album.rows(right=False))
    unsure = sorted(range(len(album.ids)), key=lambda row: (album.margins[row], album.ids[row]))
    found = [
        album.gallery(
            "The surest mistakes",
            "Wrong predictions, the most confident first. Some are the label's mistake, not the model's",
            {"": wrong[:WRONG]},
        ),
        album.gallery(
            "Hardly decided", "The two likeliest classes are nearly as likely as each other", {"": unsure[:UNSURE]}
        ),
        album.gallery("Right", "A random sample of the right predictions", {"": right[:RIGHT]}),
        confusion_pairs(album, wrong),
        looks(album, right[:EXPLAINED], wrong[:EXPLAINED]),
    ]
    return [panel for panel in found if any(group["items"] for group in panel["groups"])]


def confusion_pairs(album: Album, wrong: Sequence[int]) -> Panel:
    """The most frequent pairs of a true class and another that is predicted, each with its surest examples."""
    pairs: dict[tuple[int, int], list[int]] = {}
    for row in wrong:
        pairs.setdefault((int(album.targets[row]), int(album.predictions[row])), []).append(row)
    totals = Counter(album.targets.tolist())
    most = sorted(pairs.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:PAIRS]
    groups = {
        f"{album.labels[true]} taken for {album.labels[said]}: {len(rows):,} of {totals[true]:,}": rows[:EXAMPLES]
        for (true, said), rows in most
    }
    return album.gallery("What is taken for what", "The most frequent mistakes, the surest examples of each", groups)


def looks(album: Album, right: Sequence[int], wrong: Sequence[int]) -> Panel:
    """Which pixels speak for the predicted class, on some right and some wrong predictions."""
    from bonafide.tasks.image_classification.model import load
    from bonafide.vision.saliency import attributions, overlay

    model, groups = load(MODEL), []
    for title, rows in (("Right", right), ("Wrong", wrong)):
        if rows:
            images = np.stack([np.asarray(album.pixels[row]) for row in rows])
            weights = attributions(model, images, album.predictions[list(rows)])
            heat = [overlay(*pair) for pair in zip(images, weights, strict=True)]
            items = [album.picture(row, drawn) for row, drawn in zip(rows, heat, strict=True)]
            groups.append(Group(title=title, items=items))
    return {
        "kind": "gallery",
        "title": "Where it looks",
        "caption": "Pixels in orange speak for the predicted class, in blue against it (integrated gradients, from an "
        "image of the mean colour)",
        "side": album.side,
        "groups": groups,
    }
