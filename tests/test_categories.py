"""Categories and the concepts in them."""

import pytest
import torch

from pydissect.categories import Categories, as_categories
from pydissect.errors import InputError


def test_order_is_that_of_first_appearance():
    categories = Categories.of(["object", "color", "object", "scene"])
    assert categories.names == ("object", "color", "scene")
    assert categories.of_concept.tolist() == [0, 1, 0, 2]
    assert len(categories) == 3
    assert not categories.everywhere
    assert [categories.index(name) for name in categories.names] == [0, 1, 2]


def test_single():
    categories = Categories.single(3)
    assert len(categories) == 1
    assert categories.of_concept.tolist() == [0, 0, 0]
    assert categories.everywhere


def test_unknown_category():
    with pytest.raises(InputError, match="category: expected one of a, b, found 'c'"):
        Categories.of(["a", "b"]).index("c")


def test_equality():
    categories = Categories.of(["a", "b", "a"])
    assert categories == Categories(("a", "b"), torch.tensor([0, 1, 0]))
    assert categories != Categories(("a", "c"), torch.tensor([0, 1, 0]))
    assert categories != Categories(("a", "b"), torch.tensor([0, 1, 1]))
    assert categories != Categories(("a", "b"), torch.tensor([0, 1]))
    assert categories != Categories(("a", "b"), torch.tensor([0, 1, 0]), everywhere=True)
    assert categories != ("a", "b")
    with pytest.raises(TypeError, match="unhashable"):
        hash(categories)


def test_as_categories():
    categories = Categories.of(["a", "b"])
    assert as_categories(categories, 2) is categories
    assert as_categories(["a", "b"], 2) == categories
    assert as_categories(None, 2) == Categories.single(2)
    assert as_categories([], 0).names == ()
    for wrong in (categories, ["a", "b"]):
        with pytest.raises(InputError, match="categories: expected one name for each of the 3 concepts, found 2"):
            as_categories(wrong, 3)


def test_a_single_category_first_made_in_inference_can_be_used_with_gradients():
    with torch.inference_mode():
        of_concept = Categories.single(12345).of_concept
    weights = torch.rand(1, requires_grad=True)
    weights[of_concept].sum().backward()
    assert weights.grad == 12345
