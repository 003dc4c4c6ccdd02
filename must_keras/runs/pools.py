"""Pools that grow: what was there at the first run stays as it was, what is new comes behind it."""

import contextlib
import dataclasses
import itertools
import json
import operator
import pathlib
import re
from collections.abc import Iterable, Iterator

from must_keras.config.recipe import Pool, Recipe
from must_keras.data.sources import ListedFile, ListedFiles, Source
from must_keras.errors import damaged, listed
from must_keras.files import replacing
from must_keras.json_files import json_lines
from must_keras.log import LOG
from must_keras.progress import track
from must_keras.runs.artifact import Artifact
from must_keras.runs.run import Run

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Another run's list is gone on with where so much of it is still there.
_SAME_SHARE = 0.5


def frozen(run: Run, *, new: bool, reads: bool = True) -> Run:
    """Return the run with pools of files as its lists have them.

    pools/<name>.jsonl lists files in blocks, a line each. The first block is the pool as it was at
    the first run, and keeps its name; images that have come since, or have other bytes now, are a
    next block, <name>_block2, with label columns of its own. So labels are made for new images
    only, and those of others stay valid.

    A network that was trained on a pool, or whose training has begun, closes the list: the run goes
    on with the blocks that the network was trained on, and lists no other.

    Args:
        run: nothing is written to its folder.
        new: whether images that are in no block are listed now.
        reads: with `new`, whether the images that are listed now are read. Without it, which is
            enough for a plan, they have no digest, and a pool that has no list gets none.
    """
    networks, pools = trained(run), []
    for pool in run.recipe.pools:
        blocks = _blocks(pool, run, networks, new=new, reads=reads)
        pools += [Pool(source=block) for block in blocks] or [pool]
    return dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, pools=tuple(pools)))


def keep(run: Run) -> None:
    """Write the lists of a run's frozen pools, and report what has come and gone."""
    networks = trained(run)
    for name, sources in _by_pool(run.recipe).items():
        path = _path(run.path, name)
        known = len(_read(path, sources[0].source))
        if known < len(sources):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, sources)
        for source in sources[max(known, 1) :]:
            LOG.info(f"{name}: {len(source)} new images, {source.name}")
        if _taught(sources, networks):
            continue  # Their labels are read no more: see `report_changes`.
        gone = sum(source.is_missing(i) for source in sources for i in range(len(source)))
        if gone:
            LOG.info(f"{name}: {gone} images are gone or replaced: they have no label any more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A network that learned, or began to learn, from images of pools.

    Attributes:
        name: of the network, for messages.
        artifact: the network's.
        sources: the names of what it learned from.
        is_finished: whether it has learned all that it should.

    Example:
        [network.name for network in trained(run) if network.is_finished]  # ["student"]
    """

    name: str
    artifact: Artifact
    sources: frozenset[str]
    is_finished: bool


def trained(run: Run) -> list[Trained]:
    """Return the networks of a run that pools taught, the student first."""
    recipe, named = run.recipe, {"student": run.student}
    if recipe.wanted_supervised:
        named["supervised"] = run.supervised
    named |= {method.name: run.self_supervised(method.name) for method in recipe.wanted_selfsup}
    return [
        Trained(name=name, artifact=artifact, sources=names, is_finished=artifact.is_there)
        for name, artifact in named.items()
        if (names := _source_names(artifact.made_from()))
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """How the files of a pool differ from its list.

    Attributes:
        name: of the pool.
        listed: how many images the list has.
        new: ids of images that are in no block.
        replaced: ids of images whose file has another size than it had.
        gone: ids of images that are not there any more.
        networks: what was trained on the list; none while new images are still listed.

    Example:
        [change.sentence() for change in changes(run)]  # ["pool pile grew by 1 image (a.png)"]
    """

    name: str
    listed: int
    new: tuple[str, ...]
    replaced: tuple[str, ...]
    gone: tuple[str, ...]
    networks: tuple[Trained, ...]

    @property
    def stops(self) -> bool:
        """Whether there are images that finished networks were trained without.

        A network whose training has begun is finished first, on the list as it is.
        """
        is_finished = bool(self.networks) and all(n.is_finished for n in self.networks)
        return is_finished and bool(self.new or self.replaced)

    def sentence(self) -> str:
        """Return what changed: counts, and the first ids.

        Example:
            >>> Change(
            ...     name="pile", listed=9, new=("a.png",), replaced=(), gone=("b.png", "c.png"),
            ...     networks=(),
            ... ).sentence()
            'pool pile grew by 1 image (a.png) and lost 2 images (b.png, c.png)'
        """
        kinds = {"grew by": self.new, "lost": self.gone, "got other bytes for": self.replaced}
        kinds_changed = [
            f"{verb} {len(ids)} image{'s' if len(ids) > 1 else ''} ({listed(ids)})"
            for verb, ids in kinds.items()
            if ids
        ]
        return f"pool {self.name} {' and '.join(kinds_changed)}"


def changes(run: Run) -> list[Change]:
    """Return how the frozen pools of a run differ from their lists; only those that do.

    Names and sizes of files are compared.
    """
    networks, found = trained(run), []
    for name, blocks in _by_pool(run.recipe).items():
        known = _sizes(blocks)
        total, new, replaced = len(known), [], []
        for _, image_id, size in _there(blocks[0].source):
            sizes = known.pop(image_id, None)
            if sizes is None:
                new.append(image_id)
            elif size not in sizes:
                replaced.append(image_id)
        if new or replaced or known:
            change = Change(
                name=name,
                listed=total,
                new=tuple(new),
                replaced=tuple(replaced),
                gone=tuple(known),
                networks=_taught(blocks, networks),
            )
            found.append(change)
    return found


def report_changes(run: Run) -> None:
    """Note on stderr how pools differ from what the networks of the run were trained on."""
    for change in changes(run):
        if change.networks:
            names = " and ".join(network.name for network in change.networks)
            LOG.warning(
                f"note: {change.sentence()}; {names} of this run: trained on the {change.listed} "
                "images of its list, which stays"
            )


def _by_pool(recipe: Recipe) -> dict[str, list[ListedFiles]]:
    """{name of a pool: its blocks}."""
    blocks: dict[str, list[ListedFiles]] = {}
    for pool in recipe.pools:
        if isinstance(pool.source, ListedFiles):
            blocks.setdefault(pool.source.of, []).append(pool.source)
    return blocks


def _source_names(inputs: object) -> frozenset[str]:
    """The names of the sources among a network's inputs; none of what is no network's inputs."""
    values = inputs if isinstance(inputs, dict) else {}
    sources = values.get("sources", values.get("images"))
    items = sources if isinstance(sources, list) else []
    return frozenset(str(item.get("name")) for item in items if isinstance(item, dict))


def _taught(blocks: Iterable[Source], networks: Iterable[Trained]) -> tuple[Trained, ...]:
    """The networks that were trained on blocks of a pool."""
    names = {block.name for block in blocks}
    return tuple(network for network in networks if names & network.sources)


def _blocks(
    pool: Pool, run: Run, networks: Iterable[Trained], *, new: bool, reads: bool
) -> list[ListedFiles]:
    source = pool.source
    # Rendered pools bring their ground truth along and never change.
    if pool.truth is not None or any(source.file(i) is None for i in range(len(source))):
        return []
    blocks = _read(_path(run.path, source.name), source)
    closed_by = _taught(blocks, networks)
    if closed_by:
        names = frozenset().union(*(network.sources for network in closed_by))
        return [block for block in blocks if block.name in names]
    blocks = blocks or _of_another_run(source, run)
    if new and (blocks or reads):
        known = _sizes(blocks)
        places = [
            index for index, image_id, size in _there(source) if size not in known.get(image_id, ())
        ]
        if places:
            found = track(places, f"files of {source.name}", len(places)) if reads else places
            files = (ListedFile.of(source, i, reads=reads) for i in found)
            blocks.append(_block(source, len(blocks), files))
    return blocks


def _block(source: Source, number: int, files: Iterable[ListedFile]) -> ListedFiles:
    name = f"{source.name}_block{number + 1}" if number else source.name
    return ListedFiles(source, files, name=name)


def _sizes(blocks: Iterable[ListedFiles]) -> dict[str, tuple[int, ...]]:
    """{id: bytes of its file in each block that lists it}."""
    found: dict[str, tuple[int, ...]] = {}
    for block in blocks:
        for file in block.files():
            found[file.image_id] = (*found.get(file.image_id, ()), file.size)
    return found


def _there(source: Source) -> Iterator[tuple[int, str, int]]:
    """(index, id, bytes of its file) of every image of a source whose file can be looked at."""
    for index in range(len(source)):
        with contextlib.suppress(OSError):
            yield index, source.image_id(index), source.file(index).stat().st_size


def _path(root: pathlib.Path, name: str) -> pathlib.Path:
    return root / "pools" / f"{name}.jsonl"


def _of_another_run(source: Source, run: Run) -> list[ListedFiles]:
    """The list of a run whose parts may be taken, where it is of the same files but for some.

    Then that run's labels are valid here too, and only what is new is labeled.
    """
    sizes: dict[str, int] = {}
    for other in run.others:
        blocks = _read(_path(other, source.name), source)
        if blocks and not sizes:
            sizes = {image_id: size for _, image_id, size in _there(source)}
        files = sum(len(block) for block in blocks)
        same = sum(sizes.get(f.image_id) == f.size for block in blocks for f in block.files())
        if files and same >= files * _SAME_SHARE:
            return blocks
    return []


def _write(path: pathlib.Path, blocks: list[ListedFiles]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        for number, block in enumerate(blocks):
            for file in block.files():
                lines.write(json.dumps([number, *file], ensure_ascii=False) + "\n")


def _read(path: pathlib.Path, source: Source) -> list[ListedFiles]:
    return [
        _block(source, number, (file for _, file in files))
        for number, files in itertools.groupby(_lines(path), key=operator.itemgetter(0))
    ]


def _lines(path: pathlib.Path) -> Iterator[tuple[int, ListedFile]]:
    """The lines of a list, one by one: (number of the block, file)."""
    remedy = f"put a copy of it back, or delete {path} to list and label the pool anew"
    last = 0
    for line, values in enumerate(json_lines(path, tuple[int, str, int, str], remedy=remedy), 1):
        number, image_id, size, sha256 = values
        if number not in (last, last + 1) or size < 0 or not _SHA256.fullmatch(sha256):
            raise damaged(path, f"entry {line} is {values!r}", remedy=remedy)
        last = number
        yield number, ListedFile(image_id, size, sha256)
