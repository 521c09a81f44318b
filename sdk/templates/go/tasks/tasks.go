// Package tasks has a function for each task that wit/world.wit declares.
package tasks

import (
	"encoding/json"
	"fmt"
	"math"

	types "{{name}}/build/bindings/local_{{snake}}_tasks"
	"{{name}}/build/bindings/wasm_runner_task_invocations"
	"{{name}}/build/bindings/wasm_runner_task_types"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

func Greet(name string) string {
	return fmt.Sprintf("Hello, %s!", name)
}

func Centroid(points []types.Point) wit.Result[types.Point, string] {
	if len(points) == 0 {
		return wit.Err[types.Point, string]("no points have no centroid")
	}
	var sum types.Point
	for _, point := range points {
		sum.X += point.X
		sum.Y += point.Y
	}
	count := float64(len(points))
	return wit.Ok[types.Point, string](types.Point{X: sum.X / count, Y: sum.Y / count})
}

func Square(n uint32) uint32 {
	square := uint64(n) * uint64(n)
	if square > math.MaxUint32 {
		panic(fmt.Sprintf("%d needs more than 32 bits", square))
	}
	return uint32(square)
}

func SumOfSquares(count uint32) wit.Result[uint64, string] {
	sum, err := sumOfSquares(count)
	if err != nil {
		return wit.Err[uint64, string](err.Error())
	}
	return wit.Ok[uint64, string](sum)
}

func sumOfSquares(count uint32) (uint64, error) {
	// A list of arguments, in JSON, for each child.
	arguments := make([]string, count)
	for i := range arguments {
		arguments[i] = fmt.Sprintf("[%d]", i+1)
	}
	options := wasm_runner_task_types.SubmitOptions{
		DelayMs:  wit.None[uint64](),
		Priority: wit.None[int32](),
		Key:      wit.None[string](),
	}
	children := wasm_runner_task_invocations.SubmitAll("local:{{name}}/tasks.square", arguments, options)
	if children.IsErr() {
		return 0, fmt.Errorf("the children were refused: %v", children.Err())
	}
	// While it waits, this task holds no thread.
	outcomes := wasm_runner_task_invocations.AwaitAll(children.Ok())
	if outcomes.IsErr() {
		return 0, fmt.Errorf("waiting was refused: %v", outcomes.Err())
	}
	var sum uint64
	for _, outcome := range outcomes.Ok() {
		if outcome.IsErr() {
			return 0, fmt.Errorf("a child failed: %v", outcome.Err())
		}
		var square uint64
		if err := json.Unmarshal([]byte(outcome.Ok()), &square); err != nil {
			return 0, err
		}
		sum += square
	}
	return sum, nil
}
