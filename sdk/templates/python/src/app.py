"""The tasks that `wit/world.wit` declares."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.tasks import Point
from wit_world.imports import invocations
from wit_world.imports.types import SubmitOptions

import geometry


class Tasks(exports.Tasks):
    def greet(self, name: str) -> str:
        return f"Hello, {name}!"

    def centroid(self, points: list[Point]) -> Point:
        try:
            return Point(*geometry.centroid([(point.x, point.y) for point in points]))
        except ValueError as error:
            raise Err(str(error))  # the `err` of the WIT result

    def square(self, n: int) -> int:
        square = n * n
        if square >= 2**32:
            raise OverflowError(f"{square} needs more than 32 bits")
        return square

    def sum_of_squares(self, count: int) -> int:
        # A list of arguments, in JSON, for each child.
        arguments = [json.dumps([n]) for n in range(1, count + 1)]
        options = SubmitOptions(None, None, None, False, [])
        children = invocations.submit_all("local:{{name}}/tasks.square", arguments, options)
        # While it waits, this task holds no thread.
        total = 0
        for outcome in invocations.await_all(children):
            if isinstance(outcome, Err):
                raise Err(str(outcome.value))
            total += json.loads(outcome.value)
        return total
