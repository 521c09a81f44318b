"""The entry of the component: the tasks of the project, in the form that the bindings need."""

import wasm_runner
from wit_world import exports
from wit_world.exports import tasks as _bindings

from ._types import Registry, method_name


def tasks():
    """Makes the class of the exported interface."""
    registry = Registry()
    registry.bindings = _bindings
    methods = {}
    if any(task.is_async for task in wasm_runner._tasks):
        # Only if it is needed: asyncio is a sixth of the component.
        wasm_runner._serve_async()
    for task in wasm_runner._tasks:
        # All of it now: nothing is left to do when an instance starts.
        task.signature(registry)
        methods[method_name(task.name, exports.Tasks)] = _method(task)
    return type("Tasks", (exports.Tasks,), methods)


def _method(task):
    return lambda self, *values: task._serve(values)
