import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))

from geometry import centroid


class Centroid(unittest.TestCase):
    def test_is_in_the_middle(self):
        self.assertEqual(centroid([(0, 0), (2, 4)]), (1, 2))

    def test_of_no_points_is_an_error(self):
        with self.assertRaises(ValueError):
            centroid([])


if __name__ == "__main__":
    unittest.main()
