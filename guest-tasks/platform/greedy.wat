;; A customer's plugin, written as WebAssembly text. It is hostile: it never ends. The limits of its section in
;; `wasm-runner.toml` end it, and nobody else notices.
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "transform") (param i32 i32) (result i32)
      (loop $for-ever (br $for-ever))
      (unreachable)))
  (core instance $i (instantiate $m))
  (func $transform (param "text" string) (result (result string (error string)))
    (canon lift (core func $i "transform") (memory $i "memory") (realloc (func $i "realloc"))))
  (instance $text (export "transform" (func $transform)))
  (export "platform:plugin/text@1.0.0" (instance $text)))
