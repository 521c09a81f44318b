package types

// The cases of a Result, as its Tag tells them.
const (
	ResultOk uint8 = iota
	ResultErr
)

// Result is the value of a success or of an error. WIT leaves out what carries nothing:
// that is a Unit here. The zero value is the success of a zero value.
type Result[T, E any] struct {
	ok  T
	err E
	tag uint8
}

// Ok makes the result of a success.
func Ok[T, E any](value T) Result[T, E] {
	return Result[T, E]{ok: value}
}

// Err makes the result of an error.
func Err[T, E any](value E) Result[T, E] {
	return Result[T, E]{err: value, tag: ResultErr}
}

// Tag returns ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 {
	return r.tag
}

// IsOk reports whether it is a success.
func (r Result[T, E]) IsOk() bool {
	return r.tag == ResultOk
}

// IsErr reports whether it is an error.
func (r Result[T, E]) IsErr() bool {
	return r.tag == ResultErr
}

// Ok returns the value of the success. It panics if the result is an error.
func (r Result[T, E]) Ok() T {
	if r.tag != ResultOk {
		panic("the result is an error")
	}
	return r.ok
}

// Err returns the value of the error. It panics if the result is a success.
func (r Result[T, E]) Err() E {
	if r.tag != ResultErr {
		panic("the result is no error")
	}
	return r.err
}
