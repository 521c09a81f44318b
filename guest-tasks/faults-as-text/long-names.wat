;; Traps twenty calls deep in two functions whose names stand for a megabyte each when they
;; are demangled: one as Rust mangles, one as C++ does. And asks, in a function whose name
;; stands for hundreds of megabytes, for more random bytes than the host gives.
(component
  (import "wasi:random/random@0.2.6" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (core module $m
    (func $_RIC1aTTTTTTTTTTTTTTTTuBj_EBi_EBh_EBg_EBf_EBe_EBd_EBc_EBb_EBa_EB9_EB8_EB7_EB6_EB5_EB4_EE (param $deep i32)
      (if (i32.eqz (local.get $deep)) (then (unreachable)))
      (call $_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_ES_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_E (i32.sub (local.get $deep) (i32.const 1))))
    (func $_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_ES_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_E (param $deep i32)
      (call $_RIC1aTTTTTTTTTTTTTTTTuBj_EBi_EBh_EBg_EBf_EBe_EBd_EBc_EBb_EBa_EB9_EB8_EB7_EB6_EB5_EB4_EE (local.get $deep)))
    (func (export "trap") (call $_RIC1aTTTTTTTTTTTTTTTTuBj_EBi_EBh_EBg_EBf_EBe_EBd_EBc_EBb_EBa_EB9_EB8_EB7_EB6_EB5_EB4_EE (i32.const 10))))
  (core instance $i (instantiate $m))
  (func (export "trap") (canon lift (core func $i "trap")))
  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $random-bytes
    (canon lower (func $random "get-random-bytes") (memory $bytes) (realloc $realloc)))
  (core instance $host (export "random-bytes" (func $random-bytes)))
  (core module $asks
    (import "host" "random-bytes" (func $random-bytes (param i64 i32)))
    (func $_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_ES_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_ES_ISG_SG_ES_ISH_SH_ES_ISI_SI_ES_ISJ_SJ_ES_ISK_SK_ES_ISL_SL_ES_ISM_SM_E
      (call $random-bytes (i64.const 9000000000) (i32.const 64)))
    (func (export "ask") (call $_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_ES_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_ES_ISG_SG_ES_ISH_SH_ES_ISI_SI_ES_ISJ_SJ_ES_ISK_SK_ES_ISL_SL_ES_ISM_SM_E)))
  (core instance $asking (instantiate $asks (with "host" (instance $host))))
  (func (export "ask") (canon lift (core func $asking "ask"))))
