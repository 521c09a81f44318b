"""The event loop of tasks that are `async def`: asyncio's own, with the runner in place of the selector.

When nothing else is ready it awaits any of the children that somebody awaits, for as long as no timer is due.
While it does, the invocation holds no slot. It never polls.
"""

import asyncio
import asyncio.base_events
import math

from . import Refused


class _Children:
    """Replaces a selector: it waits for children instead of sockets."""

    def __init__(self, await_any, await_any_within):
        self._await_any = await_any
        self._await_any_within = await_any_within
        # The awaited invocations with their futures, by id. With a key two submits may be one child.
        self._waiters = {}

    def add(self, child):
        """Returns a future that is done when the child is final."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(child.id, []).append((child, future))
        return future

    def remove(self, child, future):
        """Ends one wait for a child; the child continues."""
        waiters = self._waiters.get(child.id, [])
        if (child, future) in waiters:
            waiters.remove((child, future))
            if not waiters:
                del self._waiters[child.id]

    def select(self, timeout):
        """Waits for one child; no more than `timeout` seconds, if that is given."""
        if timeout is not None and timeout <= 0:
            # Something is ready: it goes first.
            return []
        ids = list(self._waiters)
        try:
            if timeout is not None:
                found = self._await_any_within(ids, math.ceil(timeout * 1000))
            elif ids:
                found = self._await_any(ids)
            else:
                raise RuntimeError("the task awaits what can't come: no child, no timer, nothing that is ready")
        except Refused as refusal:
            # A refusal does not name the invocation that it is about.
            for id in ids:
                for _, future in self._waiters.pop(id):
                    if not future.done():
                        future.set_exception(refusal)
            return []
        if found is not None:
            index, outcome = found
            for child, future in self._waiters.pop(ids[index]):
                child._settle(outcome)
                if not future.done():
                    future.set_result(None)
        return []


class _Loop(asyncio.base_events.BaseEventLoop):
    """An event loop with the methods that `BaseEventLoop` leaves to its subclasses."""

    def __init__(self, children):
        super().__init__()
        self._selector = children

    def _process_events(self, events):
        pass

    def _write_to_self(self):
        # There is one thread, so nothing else could be waiting.
        pass


class Runner:
    """Runs coroutines of tasks in a component."""

    def __init__(self, await_any, await_any_within):
        self._children = _Children(await_any, await_any_within)

    def run(self, coroutine):
        """Runs a coroutine to its end, and cancels the tasks that it has begun and not awaited."""
        with asyncio.Runner(loop_factory=lambda: _Loop(self._children)) as runner:
            return runner.run(coroutine)

    async def wait(self, child):
        """Waits until a child is final."""
        future = self._children.add(child)
        try:
            await future
        finally:
            self._children.remove(child, future)
