"""What a component is made of: the tasks of the project, as the bindings want them."""

import wasm_runner
from wit_world import exports
from wit_world.exports import tasks as _bindings

from ._types import Registry, method_name


def tasks():
    """The class of the exported interface."""
    registry = Registry()
    registry.bindings = _bindings
    methods = {}
    if any(task.is_async for task in wasm_runner._tasks):
        # Only for those that use it: asyncio is a sixth of the component.
        wasm_runner._serve_async()
    for task in wasm_runner._tasks:
        # All of it now: nothing is left to do when an instance starts.
        task.signature(registry)
        methods[method_name(task.name, exports.Tasks)] = _method(task)
    return type("Tasks", (exports.Tasks,), methods)


def _method(task):
    return lambda self, *values: task._serve(values)
