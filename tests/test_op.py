"""Counting as one node of a graph: the operation's contract with torch, and the same integers as outside."""

from dataclasses import replace

import pytest
import torch
from engines import Engine, each_engine
from strategies import Case, make_case
from torch import Tensor

import pydissect
from pydissect.counts import Counts
from pydissect.errors import InputError
from pydissect.grids import ReceptiveField
from pydissect.op import count_op, counts_in_graph, op_arguments

CASES = {
    "plain": make_case(levels=("value",)),
    "levels, halves, channels last": make_case(dtype=torch.float16, order="channels-last"),
    "align corners": make_case(grid="align_corners", levels=("value",)),
    "receptive field": make_case(grid=ReceptiveField((3, 2.5), (4, 4.5), (24, 28)), levels=("value",)),
    "no image": make_case(images=0, levels=("value",)),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@each_case
def test_contract(case: Case):
    torch.library.opcheck(
        count_op, op_arguments(case.acts, case.packed, case.threshold, case.grid, nonfinite_off=True, backend="auto")
    )


@each_engine
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_threshold_that_is_nan_leaves_its_unit_without_pixels_at_its_level(engine: Engine, dtype: torch.dtype):
    """Whichever of a unit's levels it is."""
    case = make_case(levels=("value", "below-pixel"), units=4, dtype=dtype)
    levels = case.threshold.clone()
    levels[0, 1] = levels[1, 2] = levels[:, 3] = torch.nan
    case = replace(case, threshold=levels)
    with engine.chosen() as backend:
        arguments = op_arguments(
            engine.placed(case.acts),
            case.packed.to(engine.device),
            levels.to(engine.device),
            case.grid,
            nonfinite_off=True,
            backend=backend,
        )
        intersection, unit_area, unit_area_all, *_ = (tensor.cpu() for tensor in count_op(*arguments))
    assert torch.equal(intersection, case.expected.intersection)
    assert torch.equal(unit_area, case.expected.unit_area)
    assert torch.equal(unit_area_all, case.expected.unit_area_all)


def test_no_levels():
    case = make_case(levels=("value",))
    with pytest.raises(InputError, match="threshold: expected at least one level"):
        counts_in_graph(case.acts, case.packed, case.threshold[:0], case.grid, "off", "auto")


class Counting(torch.nn.Module):
    def __init__(self, case: Case, nonfinite: str = "off") -> None:
        super().__init__()
        self.case, self.nonfinite = case, nonfinite

    def forward(self, acts: Tensor) -> Counts:
        case = self.case
        return pydissect.count(acts * 1.0, case.packed, case.threshold, grid=case.grid, nonfinite=self.nonfinite)


@each_case
def test_compiled(case: Case):
    _ = case.packed
    compiled = torch.compile(Counting(case), backend="aot_eager", fullgraph=True)
    assert compiled(case.acts) == case.expected


def test_exported():
    case = CASES["plain"]

    class Intersections(Counting):
        def forward(self, acts: Tensor) -> Tensor:
            return super().forward(acts).intersection

    _ = case.packed
    program = torch.export.export(Intersections(case), (case.acts,))
    nodes = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert nodes.count("pydissect.count.default") == 1
    assert torch.equal(program.module()(case.acts), case.expected.intersection)


def test_nonfinite_activations_are_raised_when_the_graph_runs():
    case = make_case(levels=("value",))
    acts = case.acts.clone()
    _ = case.packed
    compiled = torch.compile(Counting(case, "error"), backend="aot_eager", fullgraph=True)
    assert compiled(acts) == case.expected
    acts[1, 2, 3, 4] = torch.inf
    with pytest.raises(RuntimeError, match="acts: a non-finite activation"):
        compiled(acts)
