;; Returns values that break the rules of the canonical ABI: the runner reads
;; them from the guest's memory, and must not trust it.
(component
  (core module $m
    (memory (export "memory") 1)
    ;; At 0: pointer and length of a string of bytes that are not UTF-8.
    (data (i32.const 0) "\10\00\00\00\04\00\00\00")
    (data (i32.const 16) "\ff\fe\c3\28")
    ;; At 32: a string that begins outside of the memory.
    (data (i32.const 32) "\f0\ff\ff\ff\ff\00\00\00")
    ;; At 48: a string of 2 GiB in a memory of 64 KiB.
    (data (i32.const 48) "\00\00\00\00\ff\ff\ff\7f")
    (func (export "not-utf8") (result i32) (i32.const 0))
    (func (export "far-away") (result i32) (i32.const 32))
    (func (export "too-long") (result i32) (i32.const 48))
    ;; A surrogate is no character.
    (func (export "no-char") (result i32) (i32.const 0xd800)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (func (export "not-utf8") (result string)
    (canon lift (core func $i "not-utf8") (memory $memory)))
  (func (export "far-away") (result string)
    (canon lift (core func $i "far-away") (memory $memory)))
  (func (export "too-long") (result string)
    (canon lift (core func $i "too-long") (memory $memory)))
  (func (export "no-char") (result char)
    (canon lift (core func $i "no-char"))))
