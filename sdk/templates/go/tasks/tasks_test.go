package tasks

import (
	"testing"

	types "{{name}}/build/bindings/local_{{snake}}_tasks"
)

func TestCentroidIsInTheMiddle(t *testing.T) {
	centroid := Centroid([]types.Point{{X: 0, Y: 0}, {X: 2, Y: 4}})
	if centroid.IsErr() || centroid.Ok() != (types.Point{X: 1, Y: 2}) {
		t.Errorf("%v", centroid)
	}
}

func TestNoPointsHaveNoCentroid(t *testing.T) {
	if centroid := Centroid(nil); !centroid.IsErr() {
		t.Errorf("%v", centroid)
	}
}
