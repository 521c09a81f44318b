;; Traps twenty calls deep in two functions whose names stand for a megabyte each when they
;; are demangled: one as Rust mangles, one as C++ does.
(component
  (core module $m
    (func $_RIC1aTTTTTTTTTTTTTTTTuBj_EBi_EBh_EBg_EBf_EBe_EBd_EBc_EBb_EBa_EB9_EB8_EB7_EB6_EB5_EB4_EE (param $deep i32)
      (if (i32.eqz (local.get $deep)) (then (unreachable)))
      (call $_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_ES_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_E (i32.sub (local.get $deep) (i32.const 1))))
    (func $_Z1f1AIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_ES_IS3_S3_ES_IS4_S4_ES_IS5_S5_ES_IS6_S6_ES_IS7_S7_ES_IS8_S8_ES_IS9_S9_ES_ISA_SA_ES_ISB_SB_ES_ISC_SC_ES_ISD_SD_ES_ISE_SE_ES_ISF_SF_E (param $deep i32)
      (call $_RIC1aTTTTTTTTTTTTTTTTuBj_EBi_EBh_EBg_EBf_EBe_EBd_EBc_EBb_EBa_EB9_EB8_EB7_EB6_EB5_EB4_EE (local.get $deep)))
    (func (export "trap") (call $_RIC1aTTTTTTTTTTTTTTTTuBj_EBi_EBh_EBg_EBf_EBe_EBd_EBc_EBb_EBa_EB9_EB8_EB7_EB6_EB5_EB4_EE (i32.const 10))))
  (core instance $i (instantiate $m))
  (func (export "trap") (canon lift (core func $i "trap"))))
