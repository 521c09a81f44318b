// The component {{name}}: its tasks are in the package tasks.
package main

import (
	"runtime/debug"

	_ "{{name}}/build/bindings/wit_exports" // exports the tasks
)

// An instance runs one invocation and is gone, with all its memory: there is nothing
// that a collector would have to collect. And it must not run: while arguments are
// copied into the instance, it may not call out of it, and the collector would, to
// read the clock. Large arguments would trap.
func init() {
	debug.SetGCPercent(-1)
}

func main() {}
