"""Small objects, written and made durable in batches by one thread.

To make many files durable costs a disk little more than one file. So all puts that wait while one
batch is being written form the next batch: a single put takes as long as three fsync calls; under
load each costs about 0.1 ms of CPU.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wis2_gc_manager.store.file.layout import syncfs, unlink_quietly, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from wis2_gc_manager.store.file.layout import Layout, Placed

#: Bounds how long the first of a batch waits for the last.
MAX_BATCH = 64
#: From this many objects on, one syncfs is cheaper than fsync calls for each. It also waits for
#: what other programs write on the same file system.
_MIN_FOR_SYNCFS = 3


@dataclass(slots=True, eq=False)
class Put:
    """One object to store; afterwards it has an `error`, or `placed` says where it is."""

    key: str
    data: bytes = field(repr=False)
    media_type: str
    error: Exception | None = None
    placed: Placed | None = None
    descriptor: int = -1
    temporary: str = ""


class Committer:
    """Stores batches of objects in one layout. Used by one thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def commit(self, batch: list[Put]) -> None:
        """Store all objects of a batch. Never raises: every put contains its result."""
        is_large = len(batch) >= _MIN_FOR_SYNCFS and syncfs is not None
        whole = -1
        if is_large:
            try:
                whole = self._layout.open()
            except OSError as error:
                for put in batch:
                    put.error = error
                return
        _for_each(batch, self._write_aside)
        self._sync(batch, whole, _sync_data)
        for put in batch:
            if put.descriptor >= 0:
                _close(put)
        _for_each(batch, self._place)
        synced: set[str] = set()
        self._sync(batch, whole, lambda put: self._sync_names(put, synced))
        if whole >= 0:
            os.close(whole)
        unlink_quietly(put.temporary for put in batch if put.error is not None and put.temporary)

    def _write_aside(self, put: Put) -> None:
        put.descriptor, put.temporary = self._layout.create()
        write_all(put.descriptor, put.data)

    def _place(self, put: Put) -> None:
        put.placed = self._layout.place(put.temporary, put.key, put.media_type)

    def _sync_names(self, put: Put, synced: set[str]) -> None:
        if put.placed is not None:
            self._layout.sync(put.placed, synced)

    def _sync(self, batch: list[Put], whole: int, one: Callable[[Put], None]) -> None:
        """Sync the whole file system; if `whole` is -1, call `one` for each put instead."""
        if whole < 0 or syncfs is None:
            _for_each(batch, one)
            return
        try:
            syncfs(whole)
        except OSError as error:
            for put in batch:
                put.error = put.error or error
            return
        for put in batch:
            if put.placed is not None:
                self._layout.note_durable(put.placed)


def _sync_data(put: Put) -> None:
    os.fsync(put.descriptor)


def _close(put: Put) -> None:
    try:
        os.close(put.descriptor)
    except OSError as error:
        put.error = put.error or error


def _for_each(batch: list[Put], step: Callable[[Put], None]) -> None:
    """Do one step for all puts without an error; a put that fails does not stop the others."""
    for put in batch:
        if put.error is None:
            try:
                step(put)
            except Exception as error:  # noqa: BLE001 - the caller that waits for this put gets it
                put.error = error


class CommitThread:
    """The one thread that stores small objects, in batches of everything that waits."""

    def __init__(self, layout: Layout, on_done: Callable[[list[Put]], None]) -> None:
        self._committer = Committer(layout)
        self._on_done = on_done
        self._waiting: queue.SimpleQueue[Put | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, put: Put) -> None:
        """Queue an object; when it is stored, the thread calls `on_done` with it."""
        if self._thread is None:
            # A daemon thread: to exit without `close` is a crash, and a crash loses nothing here.
            self._thread = threading.Thread(target=self._run, name="file-store", daemon=True)
            self._thread.start()
        self._waiting.put(put)

    def close(self) -> None:
        """Return when everything that was submitted is stored. Blocks."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        is_ending = False
        while not is_ending:
            batch = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < MAX_BATCH:
                    batch.append(self._waiting.get_nowait())
            is_ending = None in batch
            puts = [put for put in batch if put is not None]
            if puts:
                self._committer.commit(puts)
                self._on_done(puts)
