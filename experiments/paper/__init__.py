"""What the recipes must_*.py share: networks, schedules, teachers and downstream sets.

Ghiasi et al., "Multi-Task Self-Training for Learning General Representations", ICCV 2021 (arXiv
2108.11353). Its result tables and its appendix were not available to the authors of this project.
Every value here is marked as one of these:

- the paper's: the paper, its abstract or a reader's notes of its method section state it;
- a proxy: it stands in other public code of the same authors, and need not be MuST's own;
- not known: the value is this project's, and a comment names its origin.
"""
