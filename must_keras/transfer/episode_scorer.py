"""Scoring of a downstream set by few-shot episodes: the same ones for all starts."""

import functools
import itertools

import keras
import numpy as np

from must_keras.config.recipe import Transfer
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import images_in_sizes
from must_keras.inference.image_features import ImageFeatures, vectors_of
from must_keras.log import LOG
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import EpisodesResult, TransferResult
from must_keras.runs.run import Run
from must_keras.training.building import build_model
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE
from must_keras.training.strategy import is_chief
from must_keras.transfer import episodes
from must_keras.transfer.grid import TransferRun
from must_keras.transfer.learner import NUM_STATISTICS_BATCHES, estimate_statistics
from must_keras.versions import git_commit


class EpisodeScorer:
    """Scores the transfer runs to one set, each on features of its own start.

    Args:
        run: the run.
        transfer: the set; its test images are drawn into episodes.

    Example:
        scorer = EpisodeScorer(run, transfer)
        for one in transfer_runs(run, transfer):
            scorer.run(one, one.artifact(run), models.get(one.start.name))
    """

    def __init__(self, run: Run, transfer: Transfer):
        self._run, self._recipe, self._transfer = run, run.recipe, transfer
        self._features: dict[tuple[str, int | None], np.ndarray] = {}

    def run(self, one: TransferRun, artifact: Artifact, trained: keras.Model | None) -> None:
        """Score one start and complete the artifact; the chief works, others have nothing to do."""
        if not is_chief():
            return
        transfer, protocol, rules = self._transfer, one.protocol, one.protocol.episodes
        title, where = f"transfer {one}", f"transfer {transfer.name!r}"
        artifact.resume()
        features = self._features_of(one, trained)
        classes = np.where(np.isfinite(features).all(axis=1), self._classes, -1)
        seed = self._run.seed("episodes", transfer.name, str(one.seed))
        drawn = episodes.draw_episodes(classes, rules, shots=protocol.shots, seed=seed, where=where)
        mean, low, high = episodes.interval(episodes.accuracies(features, drawn, rules, seed=seed))
        learner, num_support = episodes.LEARNERS[rules.learner], rules.ways * protocol.shots
        LOG.info(f"{title}: top1 {mean:.3f} ± {high - mean:.3f} over {rules.count} episodes")
        artifact.finish(
            TransferResult(
                set=transfer.name,
                task=transfer.task.kind,
                start=one.start.name,
                seed=one.seed,
                images=num_support,
                steps=learner.steps(num_support),
                learning_rate=learner.learning_rate,
                metric="top1",
                value=mean,
                metrics={"top1": mean},
                trivial=1.0 / rules.ways,
                aligned=self._recipe.alignment(transfer, one.start.name),
                mode=protocol.mode,
                neck=protocol.neck,
                copied=[] if one.start.is_random else [BACKBONE],
                shots=protocol.shots,
                split="test",
                git_commit=git_commit(),
                episodes=EpisodesResult(
                    count=rules.count,
                    ways=rules.ways,
                    queries=rules.queries,
                    learner=rules.learner,
                    low=low,
                    high=high,
                ),
            )
        )

    @functools.cached_property
    def _images(self) -> LabeledExamples:
        return self._run.labeled(self._transfer.sets.test, self._transfer.task)

    @functools.cached_property
    def _classes(self) -> np.ndarray:
        """The class of each test image [N]; -1 where it has none."""
        indices = range(len(self._images))
        groups = [self._images.group(index, self._transfer.task) for index in indices]
        return np.array([-1 if group is None else group for group in groups])

    def _features_of(self, one: TransferRun, trained: keras.Model | None) -> np.ndarray:
        """Return C5 of the start's backbone, averaged over each test image: [N, D] float32."""
        key = (one.start.name, one.seed if one.start.is_random else None)
        if key not in self._features:
            model = self._initialized(one, trained)
            features = {"": ImageFeatures(model, level="C5", unit_length=False)}
            title = f"features of {self._transfer.name} from {one.start.name}"
            options = {"batch": self._recipe.evaluation_batch, "title": title}
            batches = vectors_of(self._images.source, features, **options)
            self._features[key] = np.concatenate([batch[""] for batch in batches])
        return self._features[key]

    def _initialized(self, one: TransferRun, trained: keras.Model | None) -> MultiTaskModel:
        """Return a network with the start's backbone; statistics of a random one are estimated."""
        recipe, transfer = self._recipe, self._transfer
        seed = self._run.seed("transfer", transfer.name, str(one.seed))
        options = transfer.training.of_model()
        model = build_model(recipe.network, [transfer.task], seed=seed, **options)
        one.start.initialize(model, trained, [BACKBONE], recipe.network)
        if one.start.is_random:
            images = LabeledExamples(self._images.source, [])
            ranges, sizes = [range(len(images))], [recipe.network.size]
            batch = recipe.evaluation_batch
            dataset = images_in_sizes(images, sizes=sizes, batch=batch, ranges=ranges)
            batches = itertools.islice(dataset, NUM_STATISTICS_BATCHES)
            estimate_statistics(model.get_layer(BACKBONE), (x["image"] for (x,), _ in batches))
        return model
