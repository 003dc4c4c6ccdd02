"""Names of the sources of a recipe: a pool's blocks have one, and no other source has it."""

from collections.abc import Iterable

from must_keras.data.sources import Source, pool_name, unlisted
from must_keras.errors import UserError, not_allowed
from must_keras.runs.fingerprint import describe


def names_of(sources: Iterable[Source]) -> list[str]:
    """Return the names of sources in order, that of a pool once for all of its blocks."""
    return list(dict.fromkeys(map(pool_name, sources)))


def check_named(asked: Iterable[str], sources: Iterable[Source], what: str, *, key: str) -> None:
    """Raise UserError where a name is of none of some sources; `what` comes before the name."""
    allowed = names_of(sources)
    for name in asked:
        if name not in allowed:
            raise not_allowed(f"{what}{name!r}", name, allowed, key=key)


def distinct(sources: Iterable[Source]) -> list[Source]:
    """Return each source once, in order; a pool with a list of its files stands for the source.

    Raises:
        UserError: two different sources share a name.
    """
    found: dict[str, Source] = {}
    for source in sources:
        one, other = unlisted(source), unlisted(found.get(source.name, source))
        if other is not one and describe(other) != describe(one):
            raise UserError(
                f"two different sources of the student are named {source.name!r}: "
                "a name stands for one source's pseudo-label datasets"
            )
        found[source.name] = source
    return list(found.values())
