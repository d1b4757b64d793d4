"""Which backend is taken, and why not."""

import re

import pytest
import torch
from command import run
from strategies import make_case

from pydissect import _cpu, backends
from pydissect.backends import backend_names, choose_backend
from pydissect.errors import InputError
from pydissect.iou import count
from pydissect.thresholds import quantile_thresholds

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture(autouse=True)
def _no_choice_from_outside(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYDISSECT_BACKEND", raising=False)


def test_names():
    assert {"cpu", "reference"} <= set(backend_names())
    assert backend_names()[-1] == "reference", "the slowest comes last"


@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_by_name(name: str):
    assert choose_backend(name, CPU).name == name


@pytest.mark.parametrize("name", backend_names())
def test_every_backend_says_whether_it_can_be_had(name: str):
    backend = backends.load_backend(name)
    assert backend.name == name
    reason = backend.unavailable(CPU)
    if reason is None:
        assert choose_backend(name, CPU).name == name
    else:
        with pytest.raises(InputError) as error:
            choose_backend(name, CPU)
        on_gpu = backend.unavailable(torch.device("cuda"))
        expected = f"backend: {name!r} cannot be used on device cpu: {reason}"
        # Moving the activations helps only where there is a GPU that the backend works on.
        assert str(error.value) == (
            expected if on_gpu in (None, reason) else f"{expected}; but on device cuda, {on_gpu}"
        )


def test_auto_takes_the_fastest_that_works():
    assert choose_backend("auto", CPU).name == "cpu"
    assert choose_backend("auto", META).name == "reference"


def test_environment_decides_for_auto_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYDISSECT_BACKEND", "reference")
    assert choose_backend("auto", CPU).name == "reference"
    assert choose_backend("cpu", CPU).name == "cpu"
    monkeypatch.setenv("PYDISSECT_BACKEND", "auto")
    assert choose_backend("auto", CPU).name == "cpu"
    monkeypatch.setenv("PYDISSECT_BACKEND", "")
    assert choose_backend("auto", CPU).name == "cpu"


def test_environment_reaches_the_functions(monkeypatch: pytest.MonkeyPatch):
    case = make_case()
    monkeypatch.setenv("PYDISSECT_BACKEND", "fpga")
    message = r"PYDISSECT_BACKEND: expected auto, .*cpu, .*reference, found 'fpga'"
    with pytest.raises(InputError, match=message):
        count(case.acts, case.masks, case.threshold)
    with pytest.raises(InputError, match=message):
        quantile_thresholds(case.acts, 0.1)
    assert count(case.acts, case.packed, case.threshold, backend="cpu") == case.expected


@pytest.mark.parametrize("name", ["fpga", "", "CPU"])
def test_unknown_names_are_refused(name: str):
    with pytest.raises(InputError, match=r"backend: expected auto, .*cpu, .*reference, found ") as error:
        choose_backend(name, CPU)
    assert repr(name) in str(error.value)


def test_a_wrong_device_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    reason = "'cpu' cannot be used on device meta: it computes on the CPU; move the activations there with .cpu()"
    with pytest.raises(InputError) as error:
        choose_backend("cpu", META)
    assert str(error.value) == f"backend: {reason}"
    monkeypatch.setenv("PYDISSECT_BACKEND", "cpu")
    with pytest.raises(InputError) as error:
        choose_backend("auto", META)
    assert str(error.value) == f"PYDISSECT_BACKEND: {reason}"


def test_a_backend_is_loaded_when_it_is_chosen_and_not_before(monkeypatch: pytest.MonkeyPatch):
    loaded = []

    class Fake:
        name = "fake"

        def unavailable(self, device: torch.device) -> str | None:
            return None if device == META else "only on meta"

    def load() -> Fake:
        loaded.append("fake")
        return Fake()

    monkeypatch.setattr(backends, "_LOADERS", {**backends._LOADERS, "fake": load})
    assert backend_names()[-1] == "fake"
    assert choose_backend("cpu", CPU).name == choose_backend("auto", CPU).name == "cpu"
    assert not loaded
    with pytest.raises(InputError, match="'fake' cannot be used on device cpu: only on meta"):
        choose_backend("fake", CPU)
    monkeypatch.setattr(backends, "_LOADERS", {"fake": load})
    assert choose_backend("auto", META).name == "fake"
    with pytest.raises(InputError, match="backend: none works on device cpu"):
        choose_backend("auto", CPU)


def state(printed: str, backend: str) -> tuple[str, str]:
    """State and note in the last line about a backend."""
    found = re.findall(rf"  {backend} +(auto|available|unavailable)  +(.*\S)", printed)
    assert found, printed
    return found[-1]


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="there is a CUDA device; what this is about is that there is none"
)
def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    printed = run("backends").stdout
    for name in backend_names():
        reason = backends.load_backend(name).unavailable(torch.device("cuda"))
        found, note = state(printed, name)  # the first line of the reason
        assert found == "unavailable"
        assert reason is not None
        assert reason.startswith(note)


def test_the_command_marks_what_auto_takes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("pydissect.cli.backends._devices", lambda: {CPU: "cpu"})
    for chosen, other in (("cpu", "reference"), ("reference", "cpu")):
        monkeypatch.setenv("PYDISSECT_BACKEND", chosen)
        printed = run("backends").stdout
        assert state(printed, chosen)[0] == "auto"
        assert state(printed, other)[0] == "available"
        assert state(printed, "reference")[1] == f"torch {torch.__version__}"
        assert state(printed, "cpu")[1].startswith(", ".join(_cpu.levels()))
