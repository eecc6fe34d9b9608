"""A part of the campaign over ONNX's own backend tests: no wrong answer, no crash, no hang."""

from fuzz.suites import backend_cases, run_cases


def test_a_part_of_onnx_backend_tests_ends_well() -> None:
    cases = backend_cases(("simple", "pytorch-converted", "pytorch-operator"))[::8]
    outcome = run_cases(cases, ["inspect", "simplify", "weights"])
    assert not outcome.failures
    assert outcome.ends["inspect", "result"] > len(cases) * 3 // 4
    assert outcome.ends["simplify", "result"] > len(cases) // 2
