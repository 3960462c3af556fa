"""Reads rows of many keys: heads, marks, or incidents.

Rows sort by the hash of their key, incidents by their id. A scan that has returned a page goes on at the next
wanted key: in a large page, or in a small page if few of the rows are wanted, for a row that is not wanted
costs time, too. So many keys take at most as many requests as the range has pages, and few keys about one
request each, however many rows of other keys lie between.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain as joined
from itertools import islice

from detection.store.layout import chunks
from detection.store.table import PAGE, Entity

# The first row, the end, the rows of a request: the method of a table, for a partition.
Scan = Callable[[str, str, int], Iterator[Entity]]

SPARSE = 10  # rows of a small page; fewer wanted rows than one of ten are few
KEYS_PER_SCAN = 500  # the scans of more keys run at the same time
SCANS = 8  # at the same time; the HTTP client keeps ten connections


def rows_of_keys(scan: Scan, kind: str, digests: Iterable[str], page: int = PAGE) -> Iterator[Entity]:
    """The rows `<kind>|<digest>…` of these digests, those of each digest in their order.

    A request returns at most `page` rows. Raises ServiceError.
    """
    parts = list(chunks(sorted(digests), KEYS_PER_SCAN))

    def read(part: Sequence[str]) -> list[Entity]:
        return list(_rows(scan, f"{kind}|", part, page))

    if len(parts) <= 1:
        yield from joined.from_iterable(map(read, parts))
        return
    with ThreadPoolExecutor(min(len(parts), SCANS)) as executor:
        yield from joined.from_iterable(executor.map(read, parts))


def _rows(scan: Scan, prefix: str, wanted: Sequence[str], longest_page: int) -> Iterator[Entity]:
    names = frozenset(wanted)
    start, end, page = prefix + wanted[0], f"{prefix}{wanted[-1]}}}", longest_page
    while True:
        rows, digest, hits = list(islice(scan(start, end, page), page)), "", 0
        for entity in rows:
            digest = entity.row.removeprefix(prefix).partition("|")[0]
            if digest in names:
                hits += 1
                yield entity
        following = bisect_right(wanted, digest)
        if len(rows) < page or (digest not in names and following == len(wanted)):
            return
        # The key of the last row may have more rows. Else the next wanted key is further on.
        start = f"{rows[-1].row}!" if digest in names else prefix + wanted[following]
        page = longest_page if hits * SPARSE >= len(rows) else min(SPARSE, longest_page)
