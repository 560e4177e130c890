"""Runs contract suites on objects that tests make up."""

import unittest
from typing import Any


def failures(contract: type, **parts: Any) -> set[str]:
    """Run a contract suite on an object and return the names of the tests that fail."""
    case = type("Case", (contract, unittest.TestCase), parts)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun > 1
    return {test.id().rpartition(".")[2] for test, _ in [*result.failures, *result.errors]}
