"""One downstream set's networks: every start loads its weights into them, is trained and scored."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from must_keras.config.recipe import Recipe, Transfer
from must_keras.data.examples import untaught
from must_keras.data.splits import Splits
from must_keras.inference import scoring
from must_keras.runs.workdir import Artifact, Workdir
from must_keras.training.feature_cache import FeatureCache
from must_keras.training.fitting import fit_part
from must_keras.training.initialization import FromCheckpoint, copy_parts
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.model import MultiTaskModel, build_model
from must_keras.training.network import BACKBONE, NECK
from must_keras.training.strategy import is_chief
from must_keras.training.summaries import Loggers
from must_keras.training.untaught import tell as tell_untaught
from must_keras.transfer import learning_rate_sweep
from must_keras.transfer.frozen import estimate_statistics
from must_keras.transfer.grid import Cell
from must_keras.transfer.learner import Learner, fits_into_memory, learner
from must_keras.transfer.low_shot import few
from must_keras.versions import git_commit

# Training batches from which the statistics of random frozen weights are estimated.
_BATCHES_OF_STATISTICS = 20


class Bench:
    """Trains and scores the transfers to one set, with the same images and fresh weights each.

    Args:
        recipe: the run's values.
        transfer: the set.
        workdir: the run's folder.
    """

    def __init__(self, recipe: Recipe, transfer: Transfer, workdir: Workdir):
        self._recipe, self._transfer, self._workdir = recipe, transfer, workdir
        self._networks: dict[Any, Learner] = {}
        # The newest of each kind; the order of cells lets neighbors share them.
        self._fresh: tuple[int, MultiTaskModel] | None = None
        self._seen: tuple[Any, _Seen] | None = None
        self._fed: tuple[Any, InputPipeline] | None = None
        self._cached: tuple[Any, FeatureCache] | None = None

    def run(self, cell: Cell, trained: keras.Model | None, made_from: dict) -> None:
        """Trains from one start, scores it on test and finishes the part."""
        part, title = cell.part(self._workdir), f"transfer {cell}"
        seen = self._seen_by(cell)
        network, copied = self._loaded(cell, trained, seen)
        feed = self._feed(cell, network, seen)
        first = network.whole.get_weights()
        origin = f"{cell.start} ({', '.join(copied)})" if copied else "scratch"

        def train(run: Artifact, inputs: Any, rate: float) -> Loggers:
            network.whole.set_weights(first)
            training = dataclasses.replace(network.training, learning_rate=rate)
            told = f"{title}, learning rate {rate:g}" if cell.sweeps else title
            return fit_part(run, inputs, network.fitted, feed, training, title=told, origin=origin)

        def validate() -> dict[str, float | None]:
            nowhere = Loggers(None)
            return seen.scorer.score(
                network.predictor, step=0, summaries=nowhere, splits=("validation",)
            )

        rates, tried = self._transfer.rates, []
        if cell.sweeps:
            tried = learning_rate_sweep.choose(
                part, made_from, rates, train=train, validate=validate
            )
            summaries = Loggers(part.folder if is_chief() else None)
            rate = next((row["learning_rate"] for row in tried if row["chosen"]), rates[0])
        else:
            chooser = cell.chooser(self._workdir)
            rate = learning_rate_sweep.chosen_rate(chooser) if chooser else rates[0]
            summaries = train(part, made_from, rate)
        if not is_chief():
            return
        step = network.training.steps
        if tried:
            # A process that was killed here may have written them before.
            summaries.rewind({})
        metrics = seen.scorer.score(
            network.predictor, step=step, summaries=summaries, splits=("test",)
        )
        seen.scorer.show(network.predictor, step=step, summaries=summaries)
        summaries.close()
        print(f"{title}: {scoring.headline(metrics)}")
        result = self._result(cell, seen, metrics, copied, rate)
        if tried:
            result |= {"sweep": tried, "validation_images": len(seen.sets.validation)}
            learning_rate_sweep.tidy(part)
        part.finish(made_from, result)

    def _result(
        self,
        cell: Cell,
        seen: _Seen,
        metrics: dict[str, float | None],
        copied: list[str],
        rate: float,
    ) -> dict[str, Any]:
        transfer, protocol = self._transfer, cell.protocol
        metric, value = next(iter(metrics.items()))
        return {
            "set": transfer.name,
            "task": transfer.task.kind,
            "start": cell.start,
            "seed": cell.seed,
            "images": len(seen.sets.train),
            "steps": transfer.training.steps,
            "learning_rate": rate,
            "metric": metric,
            "value": value,
            "metrics": metrics,
            "trivial": seen.trivial()[metric],
            "aligned": self._recipe.alignment(transfer, cell.start),
            "mode": protocol.mode,
            "neck": protocol.neck,
            "copied": copied,
            "shots": protocol.shots,
            "split": "test",
            "git_commit": git_commit(),
        }

    def _loaded(
        self, cell: Cell, trained: keras.Model | None, seen: _Seen
    ) -> tuple[Learner, list[str]]:
        """The network with the weights that it starts from, and which parts are the start's."""
        fresh = self._fresh_of(self._number(cell))
        copied = _copied(cell, trained, fresh)
        parts: tuple[str, ...] = ()
        if cell.protocol.mode == "frozen":
            parts = tuple(copied) or (BACKBONE,)
        network = self._network(parts, fresh, num_images=len(seen.sets.train))
        if parts and not copied:
            feed = self._images(cell, network, seen)
            batches = (feed.batch_of(step)[0] for step in range(_BATCHES_OF_STATISTICS))
            estimate_statistics(fresh.get_layer(BACKBONE), (x["image"] for x in batches))
        network.whole.set_weights(fresh.get_weights())
        if trained is not None:
            copy_parts(network.whole, trained, tuple(copied))
        elif copied:
            FromCheckpoint().apply(network.whole, self._recipe.network)
        return network, copied

    def _number(self, cell: Cell) -> int:
        """The seed of fresh weights, of the order of the images and of their views."""
        return scoring.derived_seed(
            self._recipe.seed, "transfer", self._transfer.name, str(cell.seed)
        )

    def _fresh_of(self, seed: int) -> MultiTaskModel:
        """What all starts of a seed have in common: their random weights."""
        if self._fresh is None or self._fresh[0] != seed:
            self._fresh = (seed, self._build(seed))
        return self._fresh[1]

    def _build(self, seed: int) -> MultiTaskModel:
        recipe, transfer = self._recipe, self._transfer
        options = transfer.training.of_model()
        return build_model(recipe.network, [transfer.task], seed=seed, **options)

    def _network(
        self, parts: tuple[str, ...], fresh: MultiTaskModel, *, num_images: int
    ) -> Learner:
        """Built and traced once for what is frozen."""
        training = self._transfer.training
        is_cached = bool(parts) and fits_into_memory(fresh, parts, training, num_images=num_images)
        key = (parts, is_cached)
        if key not in self._networks:
            model = self._build(0)
            self._networks[key] = learner(model, training, parts, is_cached=is_cached)
        return self._networks[key]

    def _seen_by(self, cell: Cell) -> _Seen:
        shots, transfer, recipe = cell.protocol.shots, self._transfer, self._recipe
        key = None if shots is None else (shots, cell.seed)
        if self._seen is None or self._seen[0] != key:
            sets = transfer.sets
            if shots is not None:
                seed = scoring.derived_seed(recipe.seed, "shots", transfer.name, str(cell.seed))
                sets = Splits(
                    train=few(sets.train, transfer.task, shots=shots, seed=seed),
                    validation=few(sets.validation, transfer.task, shots=shots, seed=seed),
                    test=sets.test,
                )
            size = recipe.network.size
            # The head is fresh: what these labels do not teach, nothing does.
            found = untaught(scoring.labeled(sets.train, transfer.task, recipe), [transfer.task])
            left_out = found.get(transfer.task.name, ())
            tell_untaught(f"transfer {transfer.name}", found)
            scorer = scoring.Scorer(transfer.task, sets, recipe, size=size, untaught=left_out)
            self._seen = (key, _Seen(sets, scorer))
        return self._seen[1]

    def _feed(self, cell: Cell, network: Learner, seen: _Seen) -> InputPipeline:
        """Features of whole images where they fit into memory, else images through views."""
        if network.features is None:
            return self._images(cell, network, seen)
        is_of_seed = cell.protocol.shots is not None or cell.start == "random"
        key = (cell.protocol, cell.start, cell.seed if is_of_seed else None)
        if self._cached is None or self._cached[0] != key:
            self._cached = None  # Its memory is needed now.
            cache = FeatureCache(
                scoring.labeled(seen.sets.train, self._transfer.task, self._recipe),
                [self._transfer.task],
                network.features,
                network.training.augmentation,
                size=self._recipe.network.size,
                batch=self._recipe.evaluation_batch,
                title=f"features of {self._transfer.name} from {cell.start}",
            )
            self._cached = (key, cache)
        return self._new_feed(cell, network, seen, self._cached[1])

    def _images(self, cell: Cell, network: Learner, seen: _Seen) -> InputPipeline:
        key = (cell.protocol, cell.seed)
        if self._fed is None or self._fed[0] != key:
            self._fed = (key, self._new_feed(cell, network, seen, None))
        return self._fed[1]

    def _new_feed(
        self, cell: Cell, network: Learner, seen: _Seen, cache: FeatureCache | None
    ) -> InputPipeline:
        recipe, transfer = self._recipe, self._transfer
        return InputPipeline(
            scoring.labeled(seen.sets.train, transfer.task, recipe),
            [transfer.task],
            network.training,
            size=recipe.network.size,
            seed=self._number(cell),
            cache=cache,
        )


class _Seen:
    """The images that a transfer may see, and what scores it.

    Args:
        sets: the images.
        scorer: of these.
    """

    def __init__(self, sets: Splits, scorer: scoring.Scorer):
        self.sets, self.scorer = sets, scorer
        self._trivial: dict[str, float | None] | None = None

    def trivial(self) -> dict[str, float | None]:
        """See Scorer.trivial."""
        self._trivial = self._trivial or self.scorer.trivial()
        return self._trivial


def _copied(cell: Cell, trained: keras.Model | None, fresh: MultiTaskModel) -> list[str]:
    """The parts of a network whose weights are the start's."""
    if trained is None:
        return [BACKBONE] if cell.start == "checkpoint" else []
    wanted = (BACKBONE, NECK) if cell.protocol.neck == "fpn" else (BACKBONE,)
    theirs = {layer.name for layer in trained.layers}
    return [layer.name for layer in fresh.layers if layer.name in wanted and layer.name in theirs]
