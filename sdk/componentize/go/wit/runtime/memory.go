// Package runtime holds what bindings need beside the code that is made for each project: memory
// that the host reads and writes, and handles of resources.
//
// The bindings that a build makes import this package under the path that their generator
// writes into them. All of it is run-wasm-runner's own. What the host calls and expects is in the
// specification of the component model, "Canonical ABI".
package runtime

import (
	"fmt"
	"runtime"
	"unsafe"
)

// The largest alignment of the canonical ABI is that of its 64-bit numbers.
const maxAlignment = unsafe.Alignof(uint64(0))

// A place for everything that has no bytes: what the host is given must be aligned also then.
var nothing uint64

// The blocks that the host was given by realloc, until their contents have become values.
var given runtime.Pinner

// Memory for the time before Go can allocate. Its own start calls WASI, and with the first of these
// calls the adapter of WASI asks for memory that it keeps: 128 KiB.
var early struct {
	used  uintptr
	words [24 << 10]uint64
}

// Whether Go can allocate.
var started bool

func init() {
	started = true
}

// Takes a block of the memory for the start. What is called here must not need Go's runtime.
func allocateEarly(size uintptr) unsafe.Pointer {
	size = (size + maxAlignment - 1) &^ (maxAlignment - 1)
	if size > unsafe.Sizeof(early.words)-early.used {
		panic("the host asks for more memory before Go has started than there is")
	}
	block := unsafe.Add(unsafe.Pointer(&early.words), early.used)
	early.used += size
	return block
}

// Allocate returns a block of zeroes that stays where it is until the pinner lets go of it. The
// collector does not look into it: what its bytes point to has to be pinned as well.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if align > maxAlignment {
		panic(fmt.Sprintf("an alignment of %d is more than the canonical ABI has", align))
	}
	if size == 0 {
		return unsafe.Pointer(&nothing)
	}
	words := make([]uint64, (size+maxAlignment-1)/maxAlignment)
	block := unsafe.Pointer(unsafe.SliceData(words))
	pinner.Pin(block)
	return block
}

// The host calls realloc for a place to write arguments, and the results of imports, to.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, newSize uint32) unsafe.Pointer {
	if old != nil && newSize <= oldSize {
		return old
	}
	if !started {
		return allocateEarly(uintptr(newSize))
	}
	block := Allocate(&given, uintptr(newSize), uintptr(align))
	if old != nil {
		copy(unsafe.Slice((*byte)(block), newSize), unsafe.Slice((*byte)(old), oldSize))
	}
	return block
}

// Unpin lets go of the blocks that realloc gave out. From now on they live as long as the values
// that were made of them.
func Unpin() {
	given.Unpin()
}
