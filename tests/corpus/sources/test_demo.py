import pytest

from budgetbert.corpus.sources import demo

pytestmark = pytest.mark.without_backend

DOCSTRING = """
    Compute the dot product of two arrays, see :func:`~numpy.linalg.norm` and the
    `user guide <https://example.org>`_ for all the details that matter here.

    Parameters
    ----------
    a : array_like
        The first of the arrays, which may have *any* number of dimensions.
    b : array_like
        other

    Returns:
        result: The ``float`` that is the sum of all the products [1]_.

    >>> dot(1, 2)
    2

    ```python
    this is the code that would be used in an example of the function.
    ```

    +-----+-----+
    | a   | b   |
    +-----+-----+
    """


def test_prose_is_kept_and_code_tables_and_types_are_not():
    assert demo._paragraphs(DOCSTRING) == [
        "Compute the dot product of two arrays, see norm and the user guide for all the details that matter here.",
        "The first of the arrays, which may have any number of dimensions.",
        "The float that is the sum of all the products.",
    ]


def test_all_docstrings_of_a_module_are_found_without_importing_it(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""Module."""\nraise SystemExit("imported")\nclass A:\n    """Class."""\n'
        '    def f(self):\n        """Method."""\ndef g():\n    """Function."""\n'
    )
    assert list(demo._docstrings(path)) == ["Module.", "Class.", "Method.", "Function."]


def test_a_file_that_is_not_python_is_left_out(tmp_path):
    path = tmp_path / "template.py"
    path.write_text('"""Docstring."""\n{% if name %}')
    assert list(demo._docstrings(path)) == []


def test_a_paragraph_occurs_once_in_the_corpus():
    seen = set()
    shared, own = "This stands in both of the modules. " * 10, "This stands in one of the modules. " * 10
    assert list(demo._new_document([shared], seen)) == [shared]
    assert list(demo._new_document([shared, own], seen)) == [own]


def test_the_packages_that_budgetbert_needs_are_read_and_only_these():
    names = demo._distributions()
    assert {"keras", "numpy", "scipy"} <= names
    assert not {"budgetbert", "pytest", "ruff"} & names
    modules = demo._modules("numpy")
    assert modules == sorted(modules)
    assert not any("/tests/" in module for module in modules)


def test_identity_is_stable():
    assert demo.identity() == demo.identity()
