"""The sections of report.html, in their order: functions that yield its HTML."""

from must_keras.report.sections import details, exports, heads, labels, transfers

# (heading, function that yields the HTML), in their order; a section without any is left out.
SECTIONS = (
    ("", heads.learned_little),
    ("", transfers.conclusion),
    ("", transfers.overview),
    ("Transfer runs: the same budget from every start", transfers.protocols),
    ("Teachers and student on the test splits of the teachers' own sets", heads.scores),
    ("Baselines", heads.baselines),
    ("Self-training rounds: each student labels for the next", heads.rounds),
    ("Each head", heads.each_head),
    ("Sizes, classes, confusions and worst images", details.of_heads),
    ("Pseudo-label datasets", labels.datasets),
    ("Where the student's labels come from", labels.label_origins),
    ("Images without a label, and images that repeat", labels.odd_sets),
    ("Data leakage: training images that are also in test splits", labels.left_out_images),
    ("Exported files beside the student", exports.comparisons),
    ("Training curves", heads.training_curves),
    ("Downstream predictions", transfers.downstream_predictions),
    ("Samples of every set", labels.samples),
)
