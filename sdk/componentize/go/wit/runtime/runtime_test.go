package runtime

import (
	"runtime"
	"testing"
	"unsafe"
)

func panics(call func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	call()
	return false
}

func bytes(block unsafe.Pointer, size uint32) []byte {
	return unsafe.Slice((*byte)(block), size)
}

func TestBlocksAreAlignedAndEmpty(t *testing.T) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	for _, align := range []uintptr{1, 2, 4, 8} {
		for size := uintptr(0); size < 100; size++ {
			block := Allocate(&pinner, size, align)
			if block == nil || uintptr(block)%align != 0 {
				t.Fatalf("a block of %d bytes is at %p, which is no multiple of %d", size, block, align)
			}
			for at, value := range bytes(block, uint32(size)) {
				if value != 0 {
					t.Fatalf("byte %d of a new block of %d is %d", at, size, value)
				}
			}
		}
	}
	if !panics(func() { Allocate(&pinner, 16, 16) }) {
		t.Error("an alignment that no type of WIT has is taken")
	}
}

func TestBlocksDoNotOverlapAndOutliveTheCollector(t *testing.T) {
	var pinner runtime.Pinner
	// As the host sees them: the collector knows nothing of it.
	blocks := make([]uintptr, 200)
	for i := range blocks {
		block := Allocate(&pinner, uintptr(1+i), 1)
		for at := range bytes(block, uint32(1+i)) {
			bytes(block, uint32(1+i))[at] = byte(i)
		}
		blocks[i] = uintptr(block)
	}
	runtime.GC()
	for i := range 200 {
		// Takes the places of blocks that were collected, if any was.
		bytes(unsafe.Pointer(unsafe.SliceData(make([]byte, 1+i))), 1)[0] = 255
	}
	for i, address := range blocks {
		block := *(*unsafe.Pointer)(unsafe.Pointer(&address))
		for at, value := range bytes(block, uint32(1+i)) {
			if value != byte(i) {
				t.Fatalf("byte %d of block %d became %d", at, i, value)
			}
		}
	}
	pinner.Unpin()
}

func TestTheHostGetsBlocksAndMakesThemLarger(t *testing.T) {
	block := realloc(nil, 0, 4, 6)
	copy(bytes(block, 6), "abcdef")
	if shrunk := realloc(block, 6, 4, 3); shrunk != block {
		t.Error("a block that shrinks is moved")
	}
	larger := realloc(block, 6, 4, 4096)
	if string(bytes(larger, 6)) != "abcdef" {
		t.Errorf("a block that grows begins with %q", bytes(larger, 6))
	}
	if empty := realloc(nil, 0, 8, 0); empty == nil || uintptr(empty)%8 != 0 {
		t.Errorf("a block of no bytes is at %p", empty)
	}
	Unpin()
	// What was made of it is a value like any other.
	value := unsafe.String((*byte)(larger), 6)
	runtime.GC()
	if value != "abcdef" {
		t.Errorf("the value became %q", value)
	}
	Unpin()
}

func TestBeforeTheStartBlocksAreOfMemoryThatIsThere(t *testing.T) {
	started = false
	defer func() { started, early.used = true, 0 }()
	var blocks [2]uintptr
	allocations := testing.AllocsPerRun(1, func() {
		early.used = 0
		blocks = [2]uintptr{uintptr(realloc(nil, 0, 8, 65529)), uintptr(realloc(nil, 0, 8, 65536))}
	})
	if allocations != 0 {
		t.Errorf("Go's runtime is asked for memory %v times before its start", allocations)
	}
	if blocks[0]%8 != 0 || blocks[1] != blocks[0]+65536 {
		t.Errorf("the blocks are at %x", blocks)
	}
	if !panics(func() { realloc(nil, 0, 8, 65537) }) {
		t.Error("there is memory without end")
	}
}

func TestAHandleIsGivenAwayOnce(t *testing.T) {
	handle := MakeHandle(7)
	if handle.Use() != 7 || handle.Use() != 7 || handle.Take() != 7 {
		t.Error("a handle has another number")
	}
	if !panics(func() { handle.Use() }) || !panics(func() { handle.Take() }) || handle.TakeOrNil() != 0 {
		t.Error("a resource that was given away is there")
	}
	handle.Set(8)
	if !panics(func() { handle.Set(9) }) {
		t.Error("a resource is forgotten")
	}
	if handle.TakeOrNil() != 8 || handle.TakeOrNil() != 0 {
		t.Error("a resource is dropped twice")
	}
}
