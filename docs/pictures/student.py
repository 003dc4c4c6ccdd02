"""The picture of README and site, student.webp: what one student predicts for one image.

    must-keras run scenes
    must-keras run docs/pictures/five_heads.py --stage=student --reuse=runs/scenes
    python docs/pictures/student.py runs/five_heads

The image is the first of the test split of `crowd`, the set of the teacher of boxes; it is rendered
with 512 pixels a side, and the network sees 64 of them. Each panel is the visualization of a head,
of 256 pixels a side, enlarged twice.
"""

import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw

import must_keras as mk
from must_keras.synthetic import SceneConfig
from must_keras.synthetic.examples import render_example
from must_keras.tasks.visualization import font

PATH = pathlib.Path(__file__).with_name("student.webp")
CAPTIONS = {
    "shapes": "class of the image",
    "objects": "boxes and masks",
    "surfaces": "map",
    "distance": "depth in meters: near is yellow",
    "facing": "surface normals",
}
SIDE, GAP, HEAD, COLUMNS = 512, 24, 52, 3
TEXT = (122, 130, 140, 255)  # Legible on white and on black.


def panels(model: mk.Model) -> list[tuple[str, Image.Image]]:
    """Return (caption, picture) of the image and of each head."""
    config = SceneConfig(family="crowd", size=SIDE, test=1)
    image = render_example(config, "test", 0)["image"]
    small = np.asarray(Image.fromarray(image).resize((SIDE // 2, SIDE // 2), Image.Resampling.BOX))
    outputs = model.predict(small).outputs
    found = [("image", Image.fromarray(image))]
    for task in model.tasks:
        shown = Image.fromarray(task.visualization.visualize(small.copy(), outputs[task.name]))
        found.append((CAPTIONS[task.name], shown.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    return found


def main(folder: str) -> None:
    """Write the picture.

    Args:
        folder: of the run of docs/pictures/five_heads.py.
    """
    found = panels(mk.load_model(folder))
    rows = -(-len(found) // COLUMNS)
    size = (COLUMNS * (SIDE + GAP) - GAP, rows * (SIDE + HEAD + GAP) - GAP)
    canvas = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    for number, (caption, picture) in enumerate(found):
        row, column = divmod(number, COLUMNS)
        left, top = column * (SIDE + GAP), row * (SIDE + HEAD + GAP)
        draw.text((left, top + 8), caption, font=font(28), fill=TEXT)
        canvas.paste(picture, (left, top + HEAD))
    canvas.save(PATH, quality=88, method=6)
    print(PATH)


if __name__ == "__main__":
    main(sys.argv[1])
