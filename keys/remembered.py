"""What was read once is not read again: a cache that is bounded by bytes and not by a count.

Files of the directory have up to megabytes, and some are read before anybody knows who signed them: 4096 of those, kept
because they could be read, would be a stranger's to fill memory with.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import update_wrapper
from typing import Generic, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


class Remembered(Generic[P, Result]):
    """A pure function whose results are kept while the bytes that they were read from are at most *bytes_max*.

    Errors are not kept. What was not asked for longest gives way; what is larger than all is never kept.
    """

    def __init__(self, read: Callable[P, Result], bytes_max: int) -> None:
        """Stand before *read*, which takes hashable arguments."""
        self.read = read
        self.bytes = 0
        """How much is kept, counted in what it was read from."""
        self._bytes_max = bytes_max
        self._kept: OrderedDict[object, tuple[int, Result]] = OrderedDict()
        update_wrapper(self, read)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        """Return what *read* returns."""
        key = (args, tuple(sorted(kwargs.items())))
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found[1]
        result = self.read(*args, **kwargs)
        size = sum(len(one) for one in (*args, *kwargs.values()) if isinstance(one, bytes))
        if size <= self._bytes_max:
            self._kept[key] = (size, result)
            self.bytes += size
            while self.bytes > self._bytes_max:
                _key, (less, _result) = self._kept.popitem(last=False)
                self.bytes -= less
        return result

    def __len__(self) -> int:
        """Return how many results are kept."""
        return len(self._kept)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self.bytes = 0


def remembered(bytes_max: int) -> Callable[[Callable[P, Result]], Remembered[P, Result]]:
    """Return a decorator that makes a pure function a :class:`Remembered` one."""
    return lambda read: Remembered(read, bytes_max)
