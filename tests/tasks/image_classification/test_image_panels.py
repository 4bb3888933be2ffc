"""What a classifier of images shows of itself: slices, galleries of our own pictures, saliency."""

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from bonafide.evaluation.estimates import sum_up
from bonafide.evaluation.panels import quotes
from bonafide.evaluation.slices import cut
from bonafide.project.paths import MODEL
from bonafide.project.randomness import generator
from bonafide.protocol import Split
from bonafide.reporting.html import PICTURE
from bonafide.tasks.image_classification import panels, score
from bonafide.vision.mlp import MlpConfig, MlpForImageClassification
from bonafide.vision.saliency import attributions, logits_of, overlay
from tests.tasks.image_classification.pictures import LABELS, params, split

pytestmark = pytest.mark.usefixtures("one_thread")


def network(size=8):
    """A network with random weights, saved where train saves it."""
    torch.manual_seed(0)
    config = MlpConfig(image_size=size, hidden_sizes=[16])
    config.id2label = dict(enumerate(LABELS))
    config.image_mean, config.image_std, config.mirror = [0.5] * 3, [0.5] * 3, False
    model = MlpForImageClassification(config)
    model.save_pretrained(MODEL)
    return model


def outputs(rows, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(len(LABELS)), size=rows)


def shown(made, said):
    """The panels of a split."""
    settings = score.settings(params())
    rows = {"model": score.row_sums(np.array(made.table["label"].to_pylist(), dtype=object), said, settings)}
    sums = sum_up(rows, made.table["group"].to_pylist(), 100, generator(1))["model"]
    return panels.panels(made, said, sums, params())


def galleries(found):
    return {panel["title"]: panel["groups"] for panel in found if panel["kind"] == "gallery"}


def items(found):
    return [item for groups in galleries(found).values() for group in groups for item in group["items"]]


def test_class_brightness_and_novelty_are_cut():
    near = [None, "train-1", None, None]
    made = split(4, near=near)
    made.examples["pixels"][:] = np.array([10, 20, 10, 30], dtype=np.uint8)[:, None, None, None]
    pieces = {(piece.column, piece.value): piece.rows.tolist() for piece in cut(made.table, [], panels.slices(made))}
    assert pieces == {
        ("class", "red"): [0, 3],
        ("class", "green"): [1],
        ("class", "blue"): [2],
        ("brightness", "10"): [0, 2],
        ("brightness", "20"): [1],
        ("brightness", "30"): [3],
        ("novelty", "near-duplicate"): [1],
        ("novelty", "novel"): [0, 2, 3],
    }
    assert "novelty" not in panels.slices(split(4))


def test_galleries_hold_pictures_of_ours_and_nothing_else():
    network()
    found = shown(split(60), outputs(60))
    assert [*galleries(found)] == [
        "The surest mistakes", "Hardly decided", "Right", "What is taken for what", "Where it looks"
    ]  # fmt: skip
    for item in items(found):
        for uri in item["images"]:
            assert PICTURE.fullmatch(uri)
            image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
            assert (image.format, image.size) == ("PNG", (8, 8))
    assert all(quotes(panel) for panel in found if panel["kind"] == "gallery")


def test_no_picture_is_made_of_a_split_that_is_not_shown():
    assert [panel["kind"] for panel in shown(split(60, shown=False), outputs(60))] == ["matrix", "scatter", "table"]


def test_large_images_are_shown_small():
    network(64)
    found = shown(split(12, size=64), outputs(12))
    for item in items(found):
        assert Image.open(io.BytesIO(base64.b64decode(item["images"][0].partition(",")[2]))).size == (48, 48)


def test_mistakes_are_told_surest_first_with_what_is_true():
    network()
    made, said = split(60), outputs(60)
    found = galleries(shown(made, said))
    wrong = np.flatnonzero(said.argmax(axis=1) != made.examples["labels"])
    worst = wrong[said.max(axis=1)[wrong].argmax()]
    true, taken = LABELS[made.examples["labels"][worst]], LABELS[said[worst].argmax()]
    [group] = found["The surest mistakes"]
    assert group["items"][0]["words"] == [f"{taken} {100 * said[worst].max():.0f}%", f"true: {true}"]
    sure = [int(item["words"][0].split()[1].strip("%")) for item in group["items"]]
    assert sure == sorted(sure, reverse=True)
    [right] = found["Right"]
    assert all(len(item["words"]) == 1 for item in right["items"])


def test_the_most_frequent_confusions_come_first():
    network()
    made = split(30)
    said = np.eye(3)[(made.examples["labels"] + np.array([1] * 24 + [2] * 6)) % 3] * 0.8 + 0.0667
    groups = galleries(shown(made, said))["What is taken for what"]
    assert [group["title"] for group in groups][:3] == [
        "red taken for green: 8 of 10", "green taken for blue: 8 of 10", "blue taken for red: 8 of 10"
    ]  # fmt: skip
    assert all(len(group["items"]) <= panels.EXAMPLES for group in groups)


def test_a_model_without_mistakes_shows_none():
    network()
    made = split(30)
    assert [*galleries(shown(made, np.eye(3)[made.examples["labels"]]))] == [
        "Hardly decided",
        "Right",
        "Where it looks",
    ]


def test_the_same_rows_in_another_order_show_the_same_pictures():
    network()
    made, said = split(40), outputs(40)
    order = np.random.default_rng(5).permutation(40)
    turned = Split(made.table.take(pa.array(order)), {name: array[order] for name, array in made.examples.items()})
    first, second = galleries(shown(made, said)), galleries(shown(turned, said[order]))
    for title in ("The surest mistakes", "Hardly decided", "Right", "What is taken for what"):
        assert first[title] == second[title]


def test_what_is_left_without_near_duplicates():
    near = ["train-1", None] * 15
    found = {panel["title"]: panel for panel in shown(split(30, near=near, shown=False), outputs(30))}
    table = found["Without near-duplicates"]
    assert [row[:2] for row in table["rows"]] == [["All images", 30], ["Novel images", 15], ["Near-duplicates", 15]]
    whole, novel, others = (row[2]["value"] for row in table["rows"])
    assert whole == pytest.approx((novel + others) / 2)
    assert len(table["columns"]) == len(table["rows"][0]) == 2 + len(score.METRICS)
    unlike = shown(split(30, near=[None] * 30, shown=False), outputs(30))
    assert "Without near-duplicates" not in {panel["title"] for panel in unlike}


def test_attributions_add_up_to_the_logits():
    model, pixels = network(), split(4).examples["pixels"]
    classes = np.array([0, 1, 2, 0])
    found = attributions(model, pixels, classes)
    assert found.shape == (4, 8, 8)
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    plain = values.mean(dim=(2, 3), keepdim=True).expand_as(values)
    with torch.inference_mode():
        gained = (logits_of(model)(values) - logits_of(model)(plain))[range(4), classes]
    assert found.sum(axis=(1, 2)) == pytest.approx(gained.numpy(), abs=0.02)


def test_heat_is_drawn_over_grey():
    pixels = np.full((8, 8, 3), (0, 90, 180), dtype=np.uint8)
    assert (overlay(pixels, np.zeros((8, 8))) == 90).all()
    weights = np.zeros((8, 8))
    weights[:3], weights[5:] = 1, -1
    drawn = overlay(pixels, weights)
    assert drawn[0, 0].tolist() == [230, 97, 1]
    assert drawn[7, 7].tolist() == [44, 123, 182]
