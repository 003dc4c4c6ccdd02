"""Folders of data as people arrange them, made of tiny images."""

import io
import json
import pathlib
import tarfile

import numpy as np
import OpenEXR
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

HEIGHT, WIDTH = 48, 64
_RANDOM = np.random.default_rng(0)


def save(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photo(path: pathlib.Path) -> None:
    save(path, _RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def photos(folder: pathlib.Path, count: int = 10, start: int = 0) -> list[str]:
    for i in range(start, start + count):
        photo(folder / f"{i:03}.jpg")
    return [f"{i:03}.jpg" for i in range(start, start + count)]


def film(folder: pathlib.Path, count: int = 24) -> None:
    """Frames of a camera that moves over one scene."""
    scene = _RANDOM.integers(0, 256, (6, 3 * count, 3), np.uint8)
    wide = np.kron(scene, np.ones((8, 8, 1), np.uint8))
    for i in range(count):
        save(folder / f"a{i:04}.jpg", wide[:, 4 * i : 4 * i + WIDTH])


def classes(folder: pathlib.Path, names=("elm", "fir", "oak"), count: int = 6) -> None:
    for number, name in enumerate(names):
        photos(folder / name, count, start=count * number)


def coco(folder: pathlib.Path, *, images="images", file="instances.json", masks=True, start=0):
    files = photos(folder / images, start=start)
    polygon = {"segmentation": [[8, 8, 38, 8, 38, 32, 8, 32]]} if masks else {}
    content = {
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for i, name in enumerate(files)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [8, 8, 30, 24], "iscrowd": 0}
            | polygon
            for i in range(len(files))
        ],
        "categories": [{"id": 1, "name": "apple"}, {"id": 2, "name": "pear"}],
    }
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def voc(folder: pathlib.Path) -> None:
    files = photos(folder / "JPEGImages", 12)
    (folder / "Annotations").mkdir()
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    for i, file in enumerate(files):
        name = ("ace", "king")[i % 2]
        text = f"<annotation><object><name>{name}</name>{box}</object></annotation>"
        (folder / "Annotations" / f"{file[:-4]}.xml").write_text(text)
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{file[:-4]}\n" for file in files[:8]))
    (lists / "test.txt").write_text("".join(f"{file[:-4]}\n" for file in files[8:]))


def yolo(folder: pathlib.Path, splits=("train", "val"), yaml="data.yaml") -> None:
    """A box in every image, and a triangle in every second one; "" for no folders of splits."""
    for number, split in enumerate(splits):
        for i, file in enumerate(photos(folder / "images" / split, start=10 * number)):
            path = folder / "labels" / split / f"{file[:-4]}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            triangle = "1 0.1 0.1 0.6 0.1 0.1 0.6\n" if i % 2 else ""
            path.write_text(f"0 0.5 0.5 0.25 5e-1\n{triangle}")
    lines = [f"{split or 'train'}: images/{split}" for split in splits]
    text = "\n".join([*lines, "names:", "  0: apple", "  1: pear"])
    (folder / yaml).write_text(text if yaml.endswith("yaml") else "apple\npear\n")


def maps(images: pathlib.Path, labels: pathlib.Path, values=(0, 1, 2), palette=False) -> None:
    for file in photos(images):
        found = np.uint8(values)[_RANDOM.integers(0, len(values), (HEIGHT, WIDTH))]
        picture = Image.fromarray(found)
        if palette:
            picture = Image.fromarray(found, mode="P")
            picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        labels.mkdir(parents=True, exist_ok=True)
        picture.save(labels / f"{file[:-4]}.png")


def color_maps(images: pathlib.Path, labels: pathlib.Path) -> None:
    colors = np.uint8([(128, 64, 128), (70, 130, 180), (0, 0, 142)])
    for file in photos(images):
        save(labels / f"{file[:-4]}.png", colors[_RANDOM.integers(0, 3, (HEIGHT, WIDTH))])


def depths(images: pathlib.Path, labels: pathlib.Path, suffix: str = ".png") -> None:
    labels.mkdir(parents=True, exist_ok=True)
    for file in photos(images):
        meters = _RANDOM.uniform(0.5, 4, (HEIGHT, WIDTH)).astype(np.float32)
        path = labels / f"{file[:-4]}{suffix}"
        if suffix == ".png":
            save(path, (meters * 1000).astype(np.uint16))
        elif suffix == ".npy":
            np.save(path, meters)
        else:
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            with OpenEXR.File(header, {"Y": meters}) as exr:
                exr.write(str(path))


def instances(images: pathlib.Path, labels: pathlib.Path, most: int) -> None:
    for number, file in enumerate(photos(images)):
        counts = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % (most + number)
        save(labels / f"{file[:-4]}.png", counts.astype(np.uint16))


def normals(images: pathlib.Path, labels: pathlib.Path, blue: int = 0) -> None:
    for file in photos(images):
        save(labels / f"{file[:-4]}.png", np.full((HEIGHT, WIDTH, 3), (128, 128, blue), np.uint8))


def table(folder: pathlib.Path, header: str = "image,species,place", further=None) -> pathlib.Path:
    """A CSV of the classes of ten of twelve images, or of all, with {further column: values}."""
    files = photos(folder / "images", 12)
    rows = [f"{file},{('elm', 'oak')[i % 2]},{i}" for i, file in enumerate(files)]
    rows = rows if further else rows[:10]
    for column, values in (further or {}).items():
        header += f",{column}"
        rows = [f"{row},{value}" for row, value in zip(rows, values, strict=True)]
    path = folder / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def tag_table(folder: pathlib.Path, text: str, *, suffix: str = ".jpg") -> pathlib.Path:
    """A CSV of tags: a header, and a row of text behind each image's name."""
    header, *rows = text.split()
    names = [file.removesuffix(".jpg") + suffix for file in photos(folder / "images", len(rows))]
    lines = [f"{name},{row.replace('_', ' ')}" for name, row in zip(names, rows, strict=True)]
    path = folder / "tags.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def encoded() -> bytes:
    data = io.BytesIO()
    Image.fromarray(_RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


def shards(folder: pathlib.Path, names=("web-0.tar", "web-1.tar"), labels: bool = True) -> None:
    """Archives of three images each, and of their classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with tarfile.open(folder / name, "w") as tar:
            for i in range(3):
                for suffix, data in ((".png", encoded()), (".cls", b"3"))[: 1 + labels]:
                    member = tarfile.TarInfo(f"{i:03}{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def parquets(folder: pathlib.Path, names, *, classes=("elm", "oak"), image="image", **columns):
    """Parquet files of ten rows as Hugging Face writes them; without classes images alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        rows = pa.array(
            [{"bytes": encoded(), "path": None} for _ in range(10)],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
        labels = {"label": [i % len(classes) for i in range(10)]} if classes else {}
        table = pa.table({image: rows} | labels | {k: v * 5 for k, v in columns.items()})
        features = {"label": {"names": list(classes), "_type": "ClassLabel"}} if classes else {}
        info = {"huggingface": json.dumps({"info": {"features": features}})}
        parquet.write_table(table.replace_schema_metadata(info), folder / name)
