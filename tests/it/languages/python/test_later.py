"""The same tasks without a runner, as tests of a project call them."""

import asyncio
import pathlib
import sys
import unittest

PROJECT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT / "build/python"), str(PROJECT / "src")]

import app  # noqa: E402


class Test(unittest.TestCase):
    def test_children_run_in_the_event_loop_of_the_test(self):
        self.assertEqual(asyncio.run(app.halves(4)), [0, 1, 2, 3])
        self.assertEqual(asyncio.run(app.chains(4)), [0, 1, 2, 3])
        self.assertEqual(asyncio.run(app.grouped(2, 4)), 3)
        self.assertEqual(asyncio.run(app.in_order([40, 1, 20])), [1, 20, 40])

    def test_errors_are_raised_where_it_is_awaited(self):
        with self.assertRaisesRegex(app.Odd, "3 is odd"):
            asyncio.run(app.grouped(2, 3))

    def test_an_await_that_is_given_up_cancels_nothing(self):
        self.assertEqual(asyncio.run(app.impatient(60_000)), "gave up, running, False")

    def test_without_a_loop_it_runs_at_once(self):
        self.assertEqual(app.half.submit(4).result(), 2)
        with self.assertRaises(app.Odd):
            app.half.submit(3).result()

    def test_a_result_that_is_not_there_yet_is_not_waited_for(self):
        async def ask():
            return app.half.submit(4).result()

        with self.assertRaisesRegex(RuntimeError, "`await` it"):
            asyncio.run(ask())
