package runtime

// Handle is the number of a resource in the host's table for this component, as long as this
// component has it. The host numbers from 1, so 0 is none.
type Handle struct {
	number int32
}

// MakeHandle makes a handle of a number that the host gave.
func MakeHandle(number int32) *Handle {
	return &Handle{number}
}

// Use returns the number, for a call that borrows the resource. It panics if the resource was
// given away or dropped.
func (h *Handle) Use() int32 {
	if h.number == 0 {
		panic("the resource was given away or dropped before")
	}
	return h.number
}

// Take returns the number, and the handle is none from now on: the resource is given away. It
// panics as Use does.
func (h *Handle) Take() int32 {
	number := h.Use()
	h.number = 0
	return number
}

// TakeOrNil is Take for a resource that may have been given away or dropped: it returns 0 then.
func (h *Handle) TakeOrNil() int32 {
	number := h.number
	h.number = 0
	return number
}

// Set takes a resource back that could not be given away. It panics if the handle has one.
func (h *Handle) Set(number int32) {
	if h.number != 0 {
		panic("the handle has a resource already")
	}
	h.number = number
}
