"""Stacks page by page: one page in memory at a time, wherever the format lets one."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from ._image import Array, Image, Info, Source, plain


class Pages:
    """The pages of an open file, each decoded when it is asked for.

    Where a format cannot decode them one by one, all are kept in memory from the first request on.
    """

    def __init__(self, source: Source, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self._source, self._explained = source, explained
        self._all: list[Array] | None = None
        self.info: Info = source.info

    def __len__(self) -> int:
        return self.info.pages

    def __getitem__(self, number: int) -> Image:
        if not 0 <= number < len(self):
            raise IndexError(f"page {number} of {len(self)}")
        with self._explained():
            if len(self) == 1:  # which is not kept: whoever asked for it may be done with it soon
                data = self._source.decode()
            elif self._source.decode_page is not None:
                data = self._source.decode_page(number)
            else:
                self._all = self._all or Image(self._source.decode(), self.info.channel_axis).pages
                data = self._all[number]
        return Image(plain(data), self.info.channel_axis, self._source.metadata)
