"""Tasks for `run-wasm-runner` from plain Python functions.

`run-wasm-runner build` puts this package into `build/python` and makes WIT of the type hints. Outside of a
component everything works too: a submitted task then runs at once, one that is `async def` in the event loop
that is running, so tests need no runner.
"""

import copy
import inspect
import json

from ._types import (
    Errors,
    Problem,
    Registry,
    char,
    f32,
    f64,
    kebab,
    s8,
    s16,
    s32,
    s64,
    u8,
    u16,
    u32,
    u64,
)

try:
    # There only within a component.
    from wit_world.imports import context as _context
    from wit_world.imports import invocations as _invocations
    from wit_world.imports import log as _log
    from wit_world.imports.types import SubmitOptions as _SubmitOptions
    from componentize_py_types import Err as _Err
except ImportError:
    _context = _invocations = _log = None

__all__ = [
    "Invocation",
    "Refused",
    "Task",
    "TaskFailed",
    "as_completed",
    "attempt",
    "char",
    "f32",
    "f64",
    "gather",
    "invocation_id",
    "log",
    "package",
    "progress",
    "remote",
    "s8",
    "s16",
    "s32",
    "s64",
    "task",
    "u8",
    "u16",
    "u32",
    "u64",
]

# What the build and the entry of the component read.
_package = None
_tasks = []

# What runs tasks that are `async def`: in a component that has some.
_runner = None


def package(name):
    """Names the package of the tasks: `namespace:name`, or `namespace:name@1.2.3`."""
    global _package
    _package = name


class TaskFailed(Exception):
    """A child ended without a value, and not with an error that it declares."""

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        #: `returned`, `trapped`, `timed-out`, `limit-exceeded`, `cancelled`, `skipped` or `lost`.
        self.kind = kind
        #: The message of the failure; for `returned` the error as JSON.
        self.message = message


class Refused(Exception):
    """The runner refused a request, and changed nothing."""

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        #: `unknown-task`, `bad-arguments`, `denied`, `cycle`, `limit`, `unavailable`, …
        self.kind = kind
        self.message = message


def task(function=None, *, raises=()):
    """Makes a task of a function: its type hints are the types of the task.

    Exceptions in `raises` are its errors: an await of the task raises them. Any other exception
    ends the invocation as trapped.
    """
    if function is None:
        return lambda function: task(function, raises=raises)
    made = Task(function, raises, None)
    _tasks.append(made)
    return made


def remote(task_id, *, raises=()):
    """Makes a stub for a task of another component from a function without a body, with the types of that task.

    `task_id` is a function, `local:other/tasks.add`. Where several components export it, an id chooses one:
    `COMPONENT::add`, or in full `COMPONENT::local:other/tasks.add`.
    """
    return lambda function: Task(function, raises, task_id)


class Task:
    """A function that can be called, or submitted as an invocation of its own."""

    def __init__(self, function, raises, task_id):
        self.function = function
        self.raises = raises if isinstance(raises, tuple) else (raises,)
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = kebab(function.__name__)
        self._id = task_id
        self._options = {}
        self._signature = None
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *args, **kwargs):
        if self._id is None:
            return self.function(*args, **kwargs)
        invocation = self.submit(*args, **kwargs)
        return invocation.wait() if self.is_async else invocation.result()

    @property
    def id(self):
        """The id or function that is submitted. The runner looks for a function in its own component first."""
        if self._id is not None:
            return self._id
        return f"{_package.split('@')[0]}/tasks.{self.name}"

    def submit(self, *args, **kwargs):
        """Submits one invocation, which runs beside this one, and returns it."""
        return self._submit_all([self._bind(args, kwargs)])[0]

    def map(self, values):
        """Submits one invocation for each value of the only parameter, all or none, and returns their values."""
        return gather(*self._submit_all([self._bind((value,), {}) for value in values]))

    def options(self, *, delay_ms=None, priority=None, key=None, detached=False, labels=None):
        """Returns this task with options for its submits."""
        other = copy.copy(self)
        other._options = {
            "delay_ms": delay_ms,
            "priority": priority,
            "key": key,
            "detached": detached,
            "labels": list((labels or {}).items()),
        }
        return other

    def signature(self, registry=None):
        """The types of the parameters by name, of the result and of the errors."""
        if registry is not None or self._signature is None:
            self._signature = (registry or Registry()).signature(self)
        return self._signature

    def _bind(self, args, kwargs):
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        return list(bound.args) + list(bound.kwargs.values())

    def _submit_all(self, many):
        parameters, _, _ = self.signature()
        encoded = []
        for values in many:
            pairs = zip(parameters.values(), values, strict=True)
            encoded.append(json.dumps([kind.encode(value) for kind, value in pairs], allow_nan=False))
        if _invocations is None:
            return [self._start(text) for text in encoded]
        options = {"delay_ms": None, "priority": None, "key": None, "detached": False, "labels": []}
        options = _SubmitOptions(**(options | self._options))
        ids = _asked(_invocations.submit_all, self.id, encoded, options)
        return [Invocation(self, id, None) for id in ids]

    def _start(self, text):
        """Runs it here: there is no runner."""
        if self._id is not None:
            raise RuntimeError(f"`{self.id}` is a task of another component, which needs a runner")
        parameters, _, _ = self.signature()
        values = [kind.decode(value) for kind, value in zip(parameters.values(), json.loads(text), strict=True)]
        if not self.is_async:
            return Invocation(self, None, self._run(values))
        import asyncio

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return Invocation(self, None, asyncio.run(self._run_async(values)))
        return Invocation(self, None, None, loop.create_task(self._run_async(values)))

    def _run(self, values):
        try:
            return self._returned(self.function(*values))
        except Exception as error:
            return self._raised(error)

    async def _run_async(self, values):
        try:
            return self._returned(await self.function(*values))
        except Exception as error:
            return self._raised(error)

    def _returned(self, value):
        _, result, _ = self.signature()
        return _Value(result.decode(result.encode(value)))

    def _raised(self, error):
        _, _, errors = self.signature()
        if isinstance(error, self.raises):
            return errors.decode(errors.encode(error))
        return TaskFailed("trapped", f"{type(error).__name__}: {error}")

    def _outcome(self, outcome):
        """Reads an outcome: `ok` with JSON, or `err` with a failure."""
        _, result, errors = self.signature()
        if not isinstance(outcome, _Err):
            return _Value(result.decode(json.loads(outcome.value)))
        kind = _kind(outcome.value)
        if kind == "returned" and errors is not None:
            return errors.decode(json.loads(outcome.value.value))
        return TaskFailed(kind, outcome.value.value)

    def _serve(self, values):
        """Runs it for the runner, with values of the bindings."""
        parameters, result, errors = self.signature()
        values = [kind.lift(value) for kind, value in zip(parameters.values(), values, strict=True)]
        try:
            value = self.function(*values)
            if self.is_async:
                value = _runner.run(value)
        except self.raises as error:
            raise _Err(errors.lower(error)) from error
        return result.lower(value)


class _Value:
    """The outcome of an invocation that succeeded."""

    def __init__(self, value):
        self.value = value


class Invocation:
    """An invocation that was submitted. In a task that is `async def`, `await` it."""

    def __init__(self, task, id, outcome, running=None):
        self.task = task
        #: Its id; none outside of a component.
        self.id = id
        self._outcome = outcome
        # Outside of a component: what runs it in the event loop.
        self._running = running

    def result(self):
        """Waits until the invocation is final. Returns its value, or raises its error."""
        if self._outcome is None:
            gather(self, return_exceptions=True)
        if isinstance(self._outcome, _Value):
            return self._outcome.value
        raise self._outcome

    def __await__(self):
        """Other coroutines go on meanwhile. Cancelling the await does not cancel the invocation."""
        if self._outcome is None and self._running is not None:
            import asyncio

            yield from asyncio.shield(self._running).__await__()
        elif self._outcome is None:
            if _runner is None:
                raise RuntimeError("only a task that is `async def` can await a child: call `result()`")
            yield from _runner.wait(self).__await__()
        return self.result()

    async def wait(self):
        """Awaits the invocation as a coroutine, for `group.create_task(child.wait())`."""
        return await self

    def _settle(self, outcome):
        self._outcome = self.task._outcome(outcome)

    def cancel(self):
        """Cancels the invocation and its attached descendants. Returns False if it was final already."""
        return False if _invocations is None else _asked(_invocations.cancel, self.id)

    def status(self):
        """Returns the status: `queued`, `running`, `succeeded`, …"""
        if _invocations is None:
            if self._running is not None and not self._running.done():
                return "running"
            _pending([self])
            return "succeeded" if isinstance(self._outcome, _Value) else "failed"
        return _asked(_invocations.status, self.id).name.lower()

    def __repr__(self):
        return f"<invocation {self.id} of {self.task.id}>"


def gather(*invocations, return_exceptions=False):
    """Waits until all are final, and returns their values in the order given.

    The first failure in that order is raised, or is in the list in place of a value.
    """
    pending = _pending(invocations)
    if pending:
        outcomes = _asked(_invocations.await_all, [one.id for one in pending])
        for one, outcome in zip(pending, outcomes, strict=True):
            one._settle(outcome)
    values = []
    for one in invocations:
        if isinstance(one._outcome, _Value):
            values.append(one._outcome.value)
        elif return_exceptions:
            values.append(one._outcome)
        else:
            raise one._outcome
    return values


def as_completed(invocations):
    """Yields each invocation as soon as it is final."""
    invocations = list(invocations)
    pending = _pending(invocations)
    known = [one for one in invocations if one._outcome is not None]
    yield from known
    while pending:
        index, outcome = _asked(_invocations.await_any, [one.id for one in pending])
        one = pending.pop(index)
        one._settle(outcome)
        yield one


def _pending(invocations):
    """Returns the invocations that are not known to be final."""
    for one in invocations:
        if one._outcome is None and one._running is not None:
            if not one._running.done():
                raise RuntimeError(f"`{one.task.id}` runs in the event loop of this test: `await` it")
            one._outcome = one._running.result()
    return [one for one in invocations if one._outcome is None]


def log(message, level="info"):
    """Keeps a log message with the invocation; `level` is `trace`, `debug`, `info`, `warn` or `error`."""
    if _log is None:
        print(f"{level}: {message}")
    else:
        _log.log(_log.Level[level.upper()], message)


def progress(done, total, message=""):
    """Reports the progress of this invocation."""
    if _context is not None:
        _context.progress(done, total, message)


def invocation_id():
    """Returns the id of this invocation; None outside of a component."""
    return None if _context is None else _context.id()


def attempt():
    """Returns the number of this attempt, from 1."""
    return 1 if _context is None else _context.attempt()


def _asked(function, *args):
    """Calls the runner, and raises its refusal as `Refused`."""
    try:
        return function(*args)
    except _Err as error:
        refusal = error.value
        raise Refused(_kind(refusal), refusal.value) from None


def _serve_async():
    """Prepares for tasks that are `async def`."""
    global _runner
    from ._loop import Runner

    _runner = Runner(
        lambda ids: _asked(_invocations.await_any, ids),
        lambda ids, timeout_ms: _asked(_invocations.await_any_within, ids, timeout_ms),
    )


def _kind(case):
    """Of `Failure_TimedOut`: `timed-out`."""
    return kebab(type(case).__name__.split("_", 1)[1])
