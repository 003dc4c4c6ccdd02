"""The sections of the page in their order; nothing else lists them."""

from must_keras.report.sections import heads, labels, transfers

SECTIONS = (
    transfers.Verdict(),
    transfers.Overview(),
    transfers.Transfers(),
    heads.Scores(),
    heads.Baselines(),
    heads.Rounds(),
    heads.Heads(),
    labels.PseudoLabels(),
    labels.LabelOrigins(),
    labels.Leakage(),
    heads.TrainingCurves(),
    transfers.DownstreamPredictions(),
    labels.Samples(),
)
