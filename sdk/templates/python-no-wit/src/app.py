"""The tasks of this project: each function with `@task` is a task, and its type hints are its types."""

from dataclasses import dataclass

from wasm_runner import gather, package, task, u32, u64

package("local:{{name}}")


@dataclass
class Point:
    x: float
    y: float


class NoPoints(Exception):
    """Raised for the centroid of no points, also in the caller."""


@task
def greet(name: str) -> str:
    """A greeting."""
    return f"Hello, {name}!"


@task(raises=NoPoints)
def centroid(points: list[Point]) -> Point:
    """The middle of some points."""
    if not points:
        raise NoPoints("no points have no centroid")
    count = len(points)
    return Point(sum(point.x for point in points) / count, sum(point.y for point in points) / count)


@task
def square(n: u32) -> u32:
    """`n` times `n`. Where that needs more than 32 bits it traps, as any exception does that is not in `raises`."""
    return n * n


@task
def sum_of_squares(count: u32) -> u64:
    """1² + 2² + … + `count`². Each square is a child invocation, and all of them run at the same time."""
    children = [square.submit(n) for n in range(1, count + 1)]
    # While it waits, this task holds no thread.
    return sum(gather(*children))
