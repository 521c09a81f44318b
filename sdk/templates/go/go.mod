module {{name}}

go 1.25

require go.bytecodealliance.org/pkg v0.2.3

// `run-wasm-runner build` puts it there, beside the bindings.
replace go.bytecodealliance.org/pkg => ./build/bindings/runtime
