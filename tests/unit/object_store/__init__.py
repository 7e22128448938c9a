import pytest

# A module without the name of a test file gets plain asserts, whose failures show no values, unless it is named here.
pytest.register_assert_rewrite("tests.unit.object_store.contract")
