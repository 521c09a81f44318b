"""Plain Python: what needs no runner can be tested without one."""


def centroid(points: list[tuple[float, float]]) -> tuple[float, float]:
    """The middle of some points."""
    if not points:
        raise ValueError("no points have no centroid")
    xs, ys = zip(*points)
    return sum(xs) / len(points), sum(ys) / len(points)
