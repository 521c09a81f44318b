;; WebAssembly, but a core module: what `--target wasm32-wasip1` makes. It has no
;; types that could describe a task.
(module
  (func (export "nothing")))
