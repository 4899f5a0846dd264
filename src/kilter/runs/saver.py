"""Saves beside training: one at a time, in a thread whose error the training gets."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Saver:
    """Runs a save in a thread. Whatever it raises is raised by the next call, so that no error is lost."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="kilter-save")
        self._running: Future[object] | None = None

    def is_free(self) -> bool:
        """Whether no save is running; raises the error of the last one."""
        if self._running is not None and self._running.done():
            self.wait()
        return self._running is None

    def start(self, save: Callable[[], object]) -> None:
        """Begin a save, after the end of the last one."""
        self.wait()
        self._running = self._threads.submit(save)

    def wait(self) -> None:
        """Wait for the running save, if any."""
        running, self._running = self._running, None
        if running is not None:
            running.result()
