"""The cases of exercises: from their sizes it can be told where a factor comes from, and each variant is there."""

from __future__ import annotations

from itertools import combinations
from math import gcd, isclose

import numpy as np
import pytest

from epcore.exercise.cases import exercise_cases
from epcore.exercise.evidence import Sample
from epcore.exercise.problem import problems
from epcore.exercise.quantities import name_of, quantities
from epcore.exercise.terms import recipe_of
from epcore.gradcheck import cases
from epcore.ops import OPS

every_operator = pytest.mark.parametrize("op", OPS)


@every_operator
def test_every_variant_of_the_gradient_check_is_there(op: str) -> None:
    """Attributes with the values that they have there; a smaller or larger number will do where it is no switch."""

    def variants(found: object) -> set[str]:
        return {
            repr({name: value for name, value in case.attributes.items() if isinstance(value, (str, bool)) or name == "stride"})
            for case in found  # type: ignore[attr-defined]
        }

    there = [case for case in cases() if case.op == op]
    assert variants(exercise_cases(op)) >= variants(there)
    optional = {tuple(array is None for array in case.arrays) for case in there} if op != "concat" else set()
    assert {tuple(array is None for array in case.arrays) for case in exercise_cases(op)} >= optional


@every_operator
def test_labels_are_unique_and_seeds_repeat(op: str) -> None:
    first, second = exercise_cases(op), exercise_cases(op)
    assert len({case.label for case in first}) == len(first) >= 3
    for a, b in zip(first, second, strict=True):
        assert all(x is y or np.array_equal(x, y) for x, y in zip(a.arrays, b.arrays, strict=True))


@every_operator
def test_the_batch_shares_no_factor_with_any_other_size(op: str) -> None:
    """Nor with a kernel, a window or a stride: a factor of the batch is nothing else."""
    for problem in problems(op):
        numbers = quantities(problem)
        others = [value for name, value in numbers.items() if name in {"H", "W", "C", "k", "size", "stride", "Cout"}]
        assert all(gcd(int(numbers["N"]), int(value)) == 1 for value in others), problem.case.label


@every_operator
def test_no_two_sizes_agree_in_all_cases(op: str) -> None:
    """Nor does one agree with a plain number: what a factor is follows from its values."""
    table = [quantities(problem) for problem in problems(op)]
    names = [name for name in table[0] if all(name in each for each in table)]
    sizes = [name for name in names if not any(each in name for each in problems(op)[0].attributes)]
    for i, a in enumerate(sizes):
        assert len({each[a] for each in table}) > 1, a
        for b in sizes[i + 1 :]:
            assert not all(isclose(each[a], each[b]) for each in table), (a, b)


@every_operator
def test_no_product_of_two_sizes_is_the_same_in_all_cases_of_a_variant(op: str) -> None:
    """Else a factor of, say, 1 / (OH * OW) would be a plain number where one variant alone is wrong."""
    variants: dict[str, list[dict[str, float]]] = {}
    for problem in problems(op):
        attributes = {name: value for name, value in problem.case.attributes.items() if isinstance(value, (str, int))}
        variants.setdefault(repr(attributes), []).append(quantities(problem))
    for cases_of_it in variants.values():
        if len(cases_of_it) > 1:
            sizes = [name for name in ("N", "H", "W", "C", "OH", "OW", "Cout") if name in cases_of_it[0]]
            for a, b in combinations(sizes, 2):
                assert len({each[a] * each[b] for each in cases_of_it}) > 1, (op, a, b)


@every_operator
@pytest.mark.parametrize("factor", ["N", "C", "H", "1 / W", "H * W", "1 / NHW", "W / H"])
def test_factors_are_called_what_they_are(op: str, factor: str) -> None:
    """By themselves, or where there are two ways to say it, not at all."""
    worked = problems(op)
    values = [eval(factor, {name.strip("()").replace("*", ""): n for name, n in quantities(each).items()}) for each in worked]
    found = name_of(values, worked)
    assert found is not None and found.text == factor.replace("NHW", "(N*H*W)")
    assert [found.of(problem) for problem in worked] == pytest.approx(values)


def test_what_has_two_names_has_none() -> None:
    worked = problems("swish")
    assert name_of([2.0] * 3, worked) is not None
    assert name_of([0.123456789] * 3, worked) is None
    assert name_of([1.1, 1.2, 1.3], worked) is None
    assert name_of([4.0], worked[:1]) is not None, "one case: a plain number, nobody's size"


@every_operator
def test_terms_add_up_to_the_gradient(op: str) -> None:
    for problem in problems(op):
        recipe = recipe_of(problem)
        for index in problem.checked:
            sample = Sample(problem, index, np.asarray(problem.right[index]))
            total = sum(np.asarray(term.value(sample.scope)) for term in recipe.terms[sample.name])
            assert np.shape(total) == sample.right.shape
            assert np.abs(total - sample.right).max() <= problem.rounding


@every_operator
def test_the_rounding_bound_is_far_below_the_values(op: str) -> None:
    """A wrong explanation would have to give random numbers to five digits at the least."""
    for problem in problems(op):
        for index in problem.checked:
            assert 0 < problem.rounding <= 1e-5 * np.abs(problem.right[index]).max()
