"""Images with one class each: a folder for every class, or a table beside the images."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from must_keras.data import names
from must_keras.data.io.folders import Path, existing_folder, label_digest, picture_files
from must_keras.data.io.tables import Table
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, class_label, spaces
from must_keras.errors import UserError, check_classes, not_allowed


class _Classified(ImageFiles):
    """The pictures of a folder, some of which have a class.

    Args:
        class_of: {file: index of its class}; other files are not labeled.
        classes: names in the order of the indices.
        head: the head that the classes label, "" or None: see `spaces`.
        arguments: see ImageFiles.
    """

    searches_root = True

    def __init__(
        self,
        class_of: Mapping[str, int],
        classes: Sequence[str],
        head: str | None,
        **arguments: Any,
    ):
        self._class_of = class_of
        label_spaces = spaces(head, LabelSpace("classes", tuple(classes)), name=arguments["name"])
        super().__init__(label_spaces=label_spaces, **arguments)

    def labels(self, index: int) -> dict[str, Stored]:
        found = self._class_of.get(self._files[index])
        if found is None:
            return {}
        return {
            head: class_label(found, len(space.classes))
            for head, space in self.label_spaces.items()
        }

    def labeled_heads(self, index: int) -> Collection[str]:
        return self.label_spaces.keys() if self._files[index] in self._class_of else ()


class FolderPerClass(_Classified):
    """Images for classification: <root>/<class>/.../x.jpg, sorted by path.

    Names are compared as people read them: see `names.as_read`.

    Args:
        name: of the source.
        root: the folder of the classes' folders.
        head: the head that its classes label; default: the source's name; None: images alone.
        classes: names in the order of the indices, folders or not; None: the folders, sorted. Give
            them where a set may lack a class that another split has.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: a class's folder contains no picture, a picture is in none, or a folder is no
            class, or reads like another.

    Example:
        mk.FolderPerClass(name="species", root="leaves")
    """

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        head: str | None = "",
        classes: Sequence[str] | None = None,
        bits: int | None = None,
    ):
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        root = existing_folder(root)
        files = picture_files(root)
        for file in files:
            if "/" not in file:
                raise UserError(f"{root / file} is in no class's folder")
        folder_of = {file: file.split("/")[0] for file in files}
        with_pictures = set(folder_of.values())
        folders = sorted(with_pictures)
        for path in sorted(root.iterdir()) if classes is None else ():
            is_hidden = path.name.startswith(".") or not names.is_text(path.name)
            if path.name not in with_pictures and not is_hidden and path.is_dir():
                raise UserError(f"{path} holds no picture")
        same = names.ambiguous(folders)
        if same is not None:
            raise UserError(
                f"{root} holds the folders {same[0]!a} and {same[1]!a}, which read the same: "
                "rename one of them, or put their images together"
            )
        classes = tuple(folders if classes is None else classes)
        known = names.Names(classes)
        indices = {folder: known.index_in(folder, classes) for folder in folders}
        for folder, index in indices.items():
            if index is None:
                raise UserError(
                    f"{root / folder} is not one of the {len(classes)} classes: "
                    f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
                )
        class_of = {file: indices[folder] for file, folder in folder_of.items()}
        super().__init__(class_of, classes, head, name=name, root=root, files=files, bits=bits)


class CsvClasses(_Classified):
    """The pictures of a folder, and a CSV file with a header and the class of some of them.

    Columns are separated by commas, semicolons or tabs, whichever gives all columns. Names are
    compared as people read them: see `names.Names`.

    Args:
        name: of the source.
        images: the images' folder.
        csv_file: the table; a picture without a row is not labeled.
        head: the head that the classes label; default: the source's name; None: images alone.
        classes: names in the order of the indices; None: those in the file, sorted.
        file_column: names a picture by its path relative to `images`.
        class_column: names its class; empty: not labeled.
        split_column: names the split of a picture, where `split` is given.
        split: the pictures whose rows have this text in `split_column`, and no others; the classes
            are those of all rows. None: all pictures.
        listed_only: whether pictures without a row are left out: a table of each split may be about
            one folder.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: the file cannot be read or lacks a column; a row names no picture, one that was
            named before, or no class; no row is of the split.

    Example:
        mk.CsvClasses(name="tags", images="photos", csv_file="tags.csv")
    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        csv_file: Path,
        head: str | None = "",
        classes: Sequence[str] | None = None,
        file_column: str = "file",
        class_column: str = "class",
        split_column: str = "split",
        split: str | None = None,
        listed_only: bool = False,
        bits: int | None = None,
    ):
        root, self._csv = existing_folder(images), pathlib.Path(csv_file)
        files = picture_files(root)
        columns = (file_column, class_column, *(() if split is None else (split_column,)))
        table = Table(self._csv, columns)
        rows = table.by_picture(columns, files, root)
        row_of = {file: (line, values[0]) for file, (line, values) in rows.items()}
        if listed_only:
            files = [file for file in files if file in row_of]
        if split is not None:
            kept = set(table.of_split(split, split_column, rows))
            files = [file for file in files if file in kept]
        named = {file: row for file, row in row_of.items() if row[1]}
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        else:
            # One spelling of those that read the same.
            classes = sorted(
                {names.as_read(c): c for _, c in sorted(named.values(), reverse=True)}.values()
            )
        if not classes:
            raise UserError.at(self._csv, "names no class")
        classes = tuple(classes)
        of_name = names.Names(classes)
        indices = {c: of_name.index_in(c, classes) for c in {c for _, c in named.values()}}
        for number, class_name in named.values():
            if indices[class_name] is None:
                raise not_allowed(
                    f"{self._csv}, line {number}: no class {class_name!r}", class_name, classes
                )
        class_of = {file: indices[c] for file, (_, c) in named.items()}
        super().__init__(class_of, classes, head, name=name, root=root, files=files, bits=bits)

    def describe_content(self) -> dict[str, Any]:
        table = {"csv": label_digest(self._csv.parent, [self._csv.name])}
        return super().describe_content() | table
