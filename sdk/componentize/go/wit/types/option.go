// Package types holds the Go types of WIT's option, result and tuple.
//
// The bindings that a build makes import this package under the path that their generator
// writes into them. All of it is run-wasm-runner's own.
package types

// The cases of an Option, as its Tag tells them.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Option is a value or none. Its zero value is none.
type Option[T any] struct {
	value T
	tag   uint8
}

// None makes an option without a value.
func None[T any]() Option[T] {
	return Option[T]{}
}

// Some makes an option with a value.
func Some[T any](value T) Option[T] {
	return Option[T]{value: value, tag: OptionSome}
}

// Tag returns OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	return o.tag
}

// IsNone reports whether there is no value.
func (o Option[T]) IsNone() bool {
	return o.tag == OptionNone
}

// IsSome reports whether there is a value.
func (o Option[T]) IsSome() bool {
	return o.tag == OptionSome
}

// Some returns the value. It panics if there is none.
func (o Option[T]) Some() T {
	if o.tag != OptionSome {
		panic("the option has no value")
	}
	return o.value
}

// SomeOr returns the value, or another one if there is none.
func (o Option[T]) SomeOr(other T) T {
	if o.tag != OptionSome {
		return other
	}
	return o.value
}
