package types

import "testing"

func panics(call func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	call()
	return false
}

func TestAnOptionHasAValueOrNone(t *testing.T) {
	some := Some("a")
	if some.Tag() != OptionSome || !some.IsSome() || some.IsNone() || some.Some() != "a" || some.SomeOr("b") != "a" {
		t.Errorf("an option with a value is %+v", some)
	}
	for _, none := range []Option[string]{None[string](), {}} {
		if none.Tag() != OptionNone || none.IsSome() || !none.IsNone() || none.SomeOr("b") != "b" {
			t.Errorf("an option without a value is %+v", none)
		}
		if !panics(func() { none.Some() }) {
			t.Error("the value of none is returned")
		}
	}
}

func TestOptionsNest(t *testing.T) {
	inner := Some(None[int]())
	if inner.IsNone() || inner.Some().IsSome() {
		t.Errorf("an option of none is %+v", inner)
	}
}

func TestAResultIsASuccessOrAnError(t *testing.T) {
	ok := Ok[int, string](1)
	if ok.Tag() != ResultOk || !ok.IsOk() || ok.IsErr() || ok.Ok() != 1 || !panics(func() { ok.Err() }) {
		t.Errorf("a success is %+v", ok)
	}
	err := Err[int]("no")
	if err.Tag() != ResultErr || err.IsOk() || !err.IsErr() || err.Err() != "no" || !panics(func() { err.Ok() }) {
		t.Errorf("an error is %+v", err)
	}
	if nothing := Ok[Unit, Unit](Unit{}); nothing.Ok() != (Unit{}) {
		t.Errorf("a success of nothing is %+v", nothing)
	}
}

func TestTheTagsAreThoseOfTheCanonicalABI(t *testing.T) {
	// The cases of a variant are numbered in the order of their declaration: `none`, `some`; `ok`, `error`.
	if OptionNone != 0 || OptionSome != 1 || ResultOk != 0 || ResultErr != 1 {
		t.Error("a tag is another number")
	}
}

func TestTuplesHaveAFieldForEachPart(t *testing.T) {
	three := Tuple3[int, string, Option[bool]]{F0: 1, F1: "a", F2: Some(true)}
	if three.F0 != 1 || three.F1 != "a" || !three.F2.Some() {
		t.Errorf("a tuple is %+v", three)
	}
	if (Tuple16[int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int]{F15: 15}).F15 != 15 {
		t.Error("the longest tuple lacks its last part")
	}
}
