"""Training of the transfer runs of one downstream set: built and traced once for all starts."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras

from must_keras.config.recipe import Transfer
from must_keras.config.transfers import Protocol
from must_keras.data.examples import untaught
from must_keras.data.splits import Splits
from must_keras.inference.scoring import Scorer, headline
from must_keras.log import LOG
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import TransferResult
from must_keras.runs.run import Run
from must_keras.training.building import build_model
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import FeatureCache, InputPipeline
from must_keras.training.loggers import Loggers
from must_keras.training.loop import fit
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE
from must_keras.training.strategy import is_chief
from must_keras.training.untaught import tell as tell_untaught
from must_keras.transfer import learning_rate_sweep, low_shot
from must_keras.transfer.grid import TransferRun
from must_keras.transfer.learner import (
    NUM_STATISTICS_BATCHES,
    Learner,
    estimate_statistics,
    fits_into_memory,
    learner,
)
from must_keras.versions import git_commit


class TransferTrainer:
    """Trains and scores the transfer runs to one set, each with the same images and fresh weights.

    Args:
        run: the run.
        transfer: the set.

    Example:
        trainer = TransferTrainer(run, transfer)
        for one in transfer_runs(run, transfer):
            trainer.run(one, one.artifact(run), models.get(one.start.name))
    """

    def __init__(self, run: Run, transfer: Transfer):
        self._run, self._recipe, self._transfer = run, run.recipe, transfer
        self._networks: dict[Any, Learner] = {}
        self._kept: dict[str, tuple[Any, Any]] = {}

    def run(self, one: TransferRun, artifact: Artifact, trained: keras.Model | None) -> None:
        """Train from one start, score on test and complete the artifact."""
        title, scorer = f"transfer {one}", self._scorer_of(one)
        network, copied = self._initialized(one, trained, scorer)
        pipeline = self._input(one, network, scorer)
        first = network.whole.get_weights()
        origin = f"{one.start.name} ({', '.join(copied)})" if copied else "scratch"

        def train(into: Artifact, rate: float) -> Loggers:
            network.whole.set_weights(first)
            training = dataclasses.replace(network.training, learning_rate=rate)
            of_rate = f"{title}, learning rate {rate:g}" if one.sweeps else title
            return fit(into, network.fitted, pipeline, training, title=of_rate, origin=origin)

        def validate() -> dict[str, float | None]:
            nowhere = Loggers(None)
            return scorer.score(network.predictor, step=0, loggers=nowhere, splits=("validation",))

        rates, tried = self._transfer.rates, []
        if one.sweeps:
            tried = learning_rate_sweep.choose(artifact, rates, train=train, validate=validate)
            loggers = Loggers(artifact.folder if is_chief() else None, network.training.loggers)
            rate = next((one.learning_rate for one in tried if one.chosen), rates[0])
        else:
            chooser = one.chooser(self._run)
            rate = learning_rate_sweep.chosen_rate(chooser) if chooser else rates[0]
            loggers = train(artifact, rate)
        if not is_chief():
            return
        step = network.training.steps
        if tried:
            # A process that was killed here may have written them before.
            loggers.rewind({})
            loggers.inputs(title, artifact.inputs or {})
        metrics = scorer.score(network.predictor, step=step, loggers=loggers, splits=("test",))
        scorer.visualize(network.predictor, step=step, loggers=loggers)
        loggers.close()
        LOG.info(f"{title}: {headline(metrics)}")
        transfer, protocol = self._transfer, one.protocol
        metric, value = next(iter(metrics.items()))
        result = TransferResult(
            set=transfer.name,
            task=transfer.task.kind,
            start=one.start.name,
            seed=one.seed,
            images=len(scorer.sets.train),
            steps=network.training.steps,
            learning_rate=rate,
            metric=metric,
            value=value,
            metrics=metrics,
            trivial=scorer.trivial()[metric],
            aligned=self._recipe.alignment(transfer, one.start.name),
            mode=protocol.mode,
            neck=protocol.neck,
            copied=copied,
            shots=protocol.shots,
            samples=protocol.samples,
            split="test",
            git_commit=git_commit(),
            sweep=tried or None,
            validation_images=len(scorer.sets.validation) if tried else None,
        )
        if tried:
            learning_rate_sweep.tidy(artifact)
        artifact.finish(result)

    def _initialized(
        self, one: TransferRun, trained: keras.Model | None, scorer: Scorer
    ) -> tuple[Learner, list[str]]:
        """Return the network with its initial weights, and which of its parts are the start's."""
        seed = self._number(one)
        # The random weights that all starts of a seed share.
        training = self._training(scorer)
        fresh = self._newest("fresh", (seed, training.steps), lambda: self._build(seed, training))
        theirs = {layer.name for layer in (trained or fresh).layers}
        wanted = theirs & set(one.start.parts(one.protocol.neck))
        copied = [layer.name for layer in fresh.layers if layer.name in wanted]
        frozen = tuple(copied) or (BACKBONE,)
        parts = frozen if one.protocol.mode == "frozen" else ()
        network = self._network(parts, fresh, training, len(scorer.sets.train))
        if parts and not copied:
            feed = self._image_pipeline(one, network, scorer)
            batches = (feed.batch_of(step)[0] for step in range(NUM_STATISTICS_BATCHES))
            estimate_statistics(fresh.get_layer(BACKBONE), (x["image"] for x in batches))
        network.whole.set_weights(fresh.get_weights())
        one.start.initialize(network.whole, trained, copied, self._recipe.network)
        return network, copied

    def _number(self, one: TransferRun) -> int:
        """Return the seed of fresh weights, of the order of the images and of their views."""
        return self._run.seed("transfer", self._transfer.name, str(one.seed))

    def _newest(self, kind: str, key: Any, make: Callable[[], Any]) -> Any:
        """Return the newest value of a kind, made again where its key is another one.

        The order of transfer runs lets neighbors share it.
        """
        if kind not in self._kept or self._kept[kind][0] != key:
            self._kept.pop(kind, None)  # Its memory is needed now.
            self._kept[kind] = (key, make())
        return self._kept[kind][1]

    def _training(self, scorer: Scorer, title: str | None = None) -> TrainingConfig:
        """Return the training with its number of steps, which low-shot subsets may change."""
        return self._transfer.training.for_images(len(scorer.sets.train), title=title)

    def _build(self, seed: int, training: TrainingConfig) -> MultiTaskModel:
        network, options = self._recipe.network, training.of_model()
        return build_model(network, [self._transfer.task], seed=seed, **options)

    def _network(
        self,
        parts: tuple[str, ...],
        fresh: MultiTaskModel,
        training: TrainingConfig,
        num_images: int,
    ) -> Learner:
        """Return the network of what is frozen, built and traced once for a number of steps."""
        is_cached = bool(parts) and fits_into_memory(fresh, parts, training, num_images=num_images)
        key = (parts, is_cached, training.steps)
        if key not in self._networks:
            model = self._build(0, training)
            self._networks[key] = learner(model, training, parts, is_cached=is_cached)
        return self._networks[key]

    def _scorer_of(self, one: TransferRun) -> Scorer:
        protocol = one.protocol
        key = (protocol, one.seed) if protocol.is_low_shot else None
        return self._newest("scorer", key, lambda: self._new_scorer(protocol, one.seed))

    def _new_scorer(self, protocol: Protocol, seed: int) -> Scorer:
        task, name, sets = self._transfer.task, self._transfer.name, self._sets(protocol, seed)
        # The head is fresh: what these labels do not teach, nothing does.
        found = untaught(self._run.labeled(sets.train, task), [task])
        tell_untaught(f"transfer {name}", found)
        size, left_out = self._recipe.network.size, found.get(task.name, ())
        scorer = self._run.scorer(task, sets, size=size, untaught=left_out)
        self._training(scorer, f"transfer {name}")
        return scorer

    def _sets(self, protocol: Protocol, seed: int) -> Splits:
        """Return the set with as many training and validation images as a protocol allows.

        Raises:
            UserError: there are fewer training images with a label than it asks for in all.
        """
        task, sets, name = self._transfer.task, self._transfer.sets, self._transfer.name
        if not protocol.is_low_shot:
            return sets
        options = {"seed": self._run.seed("shots", name, str(seed))}
        if protocol.samples is None:
            choose = functools.partial(low_shot.few, shots=protocol.shots, **options)
        else:
            choose = functools.partial(low_shot.first, samples=protocol.samples, **options)
        train, validation = choose(sets.train, task), choose(sets.validation, task)
        if protocol.samples is not None and len(train) < protocol.samples:
            self._transfer.refuse_samples(protocol.samples, len(train))
        return Splits(train=train, validation=validation, test=sets.test)

    def _input(self, one: TransferRun, network: Learner, scorer: Scorer) -> InputPipeline:
        """Return features of whole images where they fit into memory, else images through views."""
        if network.features is None:
            return self._image_pipeline(one, network, scorer)
        is_of_seed = one.protocol.is_low_shot or one.start.is_random
        key = (one.protocol, one.start.name, one.seed if is_of_seed else None)
        recipe, task, views = self._recipe, self._transfer.task, network.training.augmentation
        images = self._run.labeled(scorer.sets.train, task)
        options = {"size": recipe.network.size, "batch": recipe.evaluation_batch}
        title = f"features of {self._transfer.name} from {one.start.name}"
        compute = functools.partial(
            FeatureCache, images, [task], network.features, views, title=title, **options
        )
        cache = self._newest("features", key, compute)
        return self._new_pipeline(one, network, scorer, cache)

    def _image_pipeline(self, one: TransferRun, network: Learner, scorer: Scorer) -> InputPipeline:
        make = functools.partial(self._new_pipeline, one, network, scorer, None)
        return self._newest("pipeline", (one.protocol, one.seed), make)

    def _new_pipeline(
        self, one: TransferRun, network: Learner, scorer: Scorer, cache: FeatureCache | None
    ) -> InputPipeline:
        task, size, seed = self._transfer.task, self._recipe.network.size, self._number(one)
        images = self._run.labeled(scorer.sets.train, task)
        return InputPipeline(images, [task], network.training, size=size, seed=seed, cache=cache)
