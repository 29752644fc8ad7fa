"""What is kept from call to call, bounded: the entries used most recently."""

from collections import OrderedDict


class Recent:
    """At most `most` values by key; keeping one more drops the one that has not been asked for the longest time.

    Several Python threads may use it: where two make the value of one key at once, one of the two is kept. There is no lock that a fork could
    leave held.
    """

    def __init__(self, most):
        self.most, self._kept = most, OrderedDict()

    def __len__(self):
        return len(self._kept)

    def get(self, key):
        """The value of a key, or None."""
        try:
            self._kept.move_to_end(key)
            return self._kept[key]
        except KeyError:  # also where another thread has let go of it between the two lines
            return None

    def keep(self, key, value):
        """Keep a value, and return it."""
        self._kept[key] = value
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return value
