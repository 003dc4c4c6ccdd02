"""Training of the transfer runs of one downstream set: built and traced once for all starts."""

import collections
import dataclasses
from typing import Any

import keras

from must_keras.config.recipe import Transfer
from must_keras.data.examples import LabeledExamples, untaught
from must_keras.data.sources import Source, Subset, TolerantSource
from must_keras.data.splits import Splits, permutation
from must_keras.errors import UserError
from must_keras.inference.scoring import Scorer, headline
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import TransferResult
from must_keras.runs.run import Run
from must_keras.tasks.base import Task
from must_keras.training.input_pipeline import FeatureCache, InputPipeline
from must_keras.training.loggers import Loggers
from must_keras.training.loop import fit_artifact
from must_keras.training.model import MultiTaskModel, build_model
from must_keras.training.network import BACKBONE
from must_keras.training.strategy import is_chief
from must_keras.training.untaught import tell as tell_untaught
from must_keras.transfer import learning_rate_sweep
from must_keras.transfer.grid import TransferRun
from must_keras.transfer.learner import Learner, estimate_statistics, fits_into_memory, learner
from must_keras.versions import git_commit

# Training batches from which the statistics of random frozen weights are estimated.
_NUM_STATISTICS_BATCHES = 20


class TransferTrainer:
    """Trains and scores the transfer runs to one set, each with the same images and fresh weights.

    Args:
        run: the run.
        transfer: the set.
    """

    def __init__(self, run: Run, transfer: Transfer):
        self._run, self._recipe, self._transfer = run, run.recipe, transfer
        self._networks: dict[Any, Learner] = {}
        # The newest of each kind; the order of transfer runs lets neighbors share them.
        self._fresh: tuple[int, MultiTaskModel] | None = None
        self._scorer: tuple[Any, Scorer] | None = None
        self._pipeline: tuple[Any, InputPipeline] | None = None
        self._cached: tuple[Any, FeatureCache] | None = None

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
            return fit_artifact(
                into, network.fitted, pipeline, training, title=of_rate, origin=origin
            )

        def validate() -> dict[str, float | None]:
            nowhere = Loggers(None)
            return scorer.score(network.predictor, step=0, loggers=nowhere, splits=("validation",))

        rates, tried = self._transfer.rates, []
        if one.sweeps:
            tried = learning_rate_sweep.choose(artifact, rates, train=train, validate=validate)
            further = self._transfer.training.loggers
            loggers = Loggers(artifact.folder if is_chief() else None, further)
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
        metrics = scorer.score(network.predictor, step=step, loggers=loggers, splits=("test",))
        scorer.visualize(network.predictor, step=step, loggers=loggers)
        loggers.close()
        print(f"{title}: {headline(metrics)}")
        result = self._result(one, scorer, metrics, copied, rate)
        if tried:
            count = len(scorer.sets.validation)
            result = dataclasses.replace(result, sweep=tried, validation_images=count)
            learning_rate_sweep.tidy(artifact)
        artifact.finish(result)

    def _result(
        self,
        one: TransferRun,
        scorer: Scorer,
        metrics: dict[str, float | None],
        copied: list[str],
        rate: float,
    ) -> TransferResult:
        transfer, protocol = self._transfer, one.protocol
        metric, value = next(iter(metrics.items()))
        return TransferResult(
            set=transfer.name,
            task=transfer.task.kind,
            start=one.start.name,
            seed=one.seed,
            images=len(scorer.sets.train),
            steps=transfer.training.steps,
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
            split="test",
            git_commit=git_commit(),
        )

    def _initialized(
        self, one: TransferRun, trained: keras.Model | None, scorer: Scorer
    ) -> tuple[Learner, list[str]]:
        """Return the network with its initial weights, and which of its parts are the start's."""
        fresh = self._fresh_of(self._number(one))
        theirs = {layer.name for layer in (trained or fresh).layers}
        wanted = theirs & set(one.start.parts(one.protocol.neck))
        copied = [layer.name for layer in fresh.layers if layer.name in wanted]
        parts: tuple[str, ...] = ()
        if one.protocol.mode == "frozen":
            parts = tuple(copied) or (BACKBONE,)
        network = self._network(parts, fresh, len(scorer.sets.train))
        if parts and not copied:
            feed = self._image_pipeline(one, network, scorer)
            batches = (feed.batch_of(step)[0] for step in range(_NUM_STATISTICS_BATCHES))
            estimate_statistics(fresh.get_layer(BACKBONE), (x["image"] for x in batches))
        network.whole.set_weights(fresh.get_weights())
        one.start.initialize(network.whole, trained, copied, self._recipe.network)
        return network, copied

    def _number(self, one: TransferRun) -> int:
        """Return the seed of fresh weights, of the order of the images and of their views."""
        return self._run.seed("transfer", self._transfer.name, str(one.seed))

    def _fresh_of(self, seed: int) -> MultiTaskModel:
        """Return the random weights that all starts of a seed share."""
        if self._fresh is None or self._fresh[0] != seed:
            self._fresh = (seed, self._build(seed))
        return self._fresh[1]

    def _build(self, seed: int) -> MultiTaskModel:
        recipe, transfer = self._recipe, self._transfer
        options = transfer.training.of_model()
        return build_model(recipe.network, [transfer.task], seed=seed, **options)

    def _network(self, parts: tuple[str, ...], fresh: MultiTaskModel, num_images: int) -> Learner:
        """Return the network of what is frozen, built and traced once."""
        training = self._transfer.training
        is_cached = bool(parts) and fits_into_memory(fresh, parts, training, num_images=num_images)
        key = (parts, is_cached)
        if key not in self._networks:
            model = self._build(0)
            self._networks[key] = learner(model, training, parts, is_cached=is_cached)
        return self._networks[key]

    def _scorer_of(self, one: TransferRun) -> Scorer:
        shots, transfer, recipe = one.protocol.shots, self._transfer, self._recipe
        key = None if shots is None else (shots, one.seed)
        if self._scorer is None or self._scorer[0] != key:
            sets = transfer.sets
            if shots is not None:
                seed = self._run.seed("shots", transfer.name, str(one.seed))
                options = {"shots": shots, "seed": seed}
                train = few(sets.train, transfer.task, **options)
                validation = few(sets.validation, transfer.task, **options)
                sets = Splits(train=train, validation=validation, test=sets.test)
            size = recipe.network.size
            # The head is fresh: what these labels do not teach, nothing does.
            found = untaught(self._run.labeled(sets.train, transfer.task), [transfer.task])
            left_out = found.get(transfer.task.name, ())
            tell_untaught(f"transfer {transfer.name}", found)
            scorer = self._run.scorer(transfer.task, sets, size=size, untaught=left_out)
            self._scorer = (key, scorer)
        return self._scorer[1]

    def _input(self, one: TransferRun, network: Learner, scorer: Scorer) -> InputPipeline:
        """Return features of whole images where they fit into memory, else images through views."""
        if network.features is None:
            return self._image_pipeline(one, network, scorer)
        is_of_seed = one.protocol.shots is not None or one.start.is_random
        key = (one.protocol, one.start.name, one.seed if is_of_seed else None)
        if self._cached is None or self._cached[0] != key:
            self._cached = None  # Its memory is needed now.
            cache = FeatureCache(
                self._run.labeled(scorer.sets.train, self._transfer.task),
                [self._transfer.task],
                network.features,
                network.training.augmentation,
                size=self._recipe.network.size,
                batch=self._recipe.evaluation_batch,
                title=f"features of {self._transfer.name} from {one.start.name}",
            )
            self._cached = (key, cache)
        return self._new_pipeline(one, network, scorer, self._cached[1])

    def _image_pipeline(self, one: TransferRun, network: Learner, scorer: Scorer) -> InputPipeline:
        key = (one.protocol, one.seed)
        if self._pipeline is None or self._pipeline[0] != key:
            self._pipeline = (key, self._new_pipeline(one, network, scorer, None))
        return self._pipeline[1]

    def _new_pipeline(
        self, one: TransferRun, network: Learner, scorer: Scorer, cache: FeatureCache | None
    ) -> InputPipeline:
        recipe, transfer = self._recipe, self._transfer
        return InputPipeline(
            self._run.labeled(scorer.sets.train, transfer.task),
            [transfer.task],
            network.training,
            size=recipe.network.size,
            seed=self._number(one),
            cache=cache,
        )


def few(source: Source, task: Task, *, shots: int, seed: int) -> Subset:
    """Return as many images of each group of a task (`Labels.group`): of each class, or in all.

    The order of images is a function of their ids and the seed, so that 20 shots contain the 10
    shots. Images without a label for the task are skipped; of a group with fewer images, all are
    taken.

    Args:
        source: the set.
        task: the meaning of its labels.
        shots: images of each group, at least 1.
        seed: of the order.

    Raises:
        UserError: no image is labeled for the task.
    """
    examples = LabeledExamples(TolerantSource(source, labels=True), [task])
    places: list[int] = []
    counts: collections.Counter[int] = collections.Counter()
    for index in permutation(source, seed=seed):
        if len(places) == shots * task.labels.num_groups:
            break
        labels, origins = examples.labels_and_origins(index)
        if origins[task.name] == "missing":
            continue
        group = task.labels.group(labels[task.name])
        if group is not None and counts[group] < shots:
            counts[group] += 1
            places.append(index)
    if not places:
        raise UserError(f"source {source.name!r}: no image is labeled for head {task.name!r}")
    return Subset(source, sorted(places), name=source.name)
