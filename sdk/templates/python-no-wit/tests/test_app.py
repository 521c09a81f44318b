import pathlib
import sys
import unittest

# `run-wasm-runner build` puts `wasm_runner` into `build/python`.
project = pathlib.Path(__file__).parent.parent
sys.path[:0] = [str(project / "build/python"), str(project / "src")]

import app


class Tasks(unittest.TestCase):
    def test_the_centroid_is_in_the_middle(self):
        self.assertEqual(app.centroid([app.Point(0, 0), app.Point(2, 4)]), app.Point(1, 2))

    def test_no_points_have_no_centroid(self):
        with self.assertRaises(app.NoPoints):
            app.centroid.submit([]).result()

    def test_children_run_at_once_without_a_runner(self):
        self.assertEqual(app.sum_of_squares(3), 14)


if __name__ == "__main__":
    unittest.main()
