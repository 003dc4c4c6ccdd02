"""The order of the tests."""

# The files that take longest come first, so that two processes end at about the same time.
LONGEST = (
    "test_whole_method.py",
    "test_layouts.py",
    "training/test_kills.py",
    "test_loop.py",
    "test_recompute.py",
    "test_model.py",
    "test_label_kills.py",
    "test_labelling.py",
    "test_teachers_of_others.py",
)


def pytest_collection_modifyitems(items):
    def place(item):
        path = item.path.as_posix()
        return next((i for i, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)
