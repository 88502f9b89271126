"""Model files: an ONNX graph and the card beside it, checked in one place when they are loaded.

A model is input: somebody else may have made it. What is loaded belongs to its card, is made of plain layers or of
trees, lies in one file, takes and gives what its kind does, and has been tried once. What it gives later is judged as
well: a number that is none, or no probability, never goes on.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ki67.errors import InstallationError, ModelError
from ki67.files import read_json
from ki67.jobs import span
from ki67.onnx_graph import fault_of
from ki67.vocabulary import Device

MOST_GRAPH_BYTES = 1 << 30
"""A graph beyond this is none of the kinds that run here; the shipped ones have up to 12 MB."""

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
"""What ONNX Runtime calls the processor."""

ROUNDING = 1e-3
"""By so much a probability may lie beside 0 or 1: sums of single-precision numbers do."""

INT8, INT8_SUFFIX = "int8", ".int8.onnx"
"""Field of a card, ``{"sha256": ...}``, and end of a file's name: the same network in whole numbers of eight bits,
which runs on a processor where it is there, in half of the time (docs/decisions/039)."""

_MATRIX = 2
"""Axes of a second output."""

_NO_MEMORY = re.compile(r"bad_alloc|(failed to|cannot|could not|unable to) allocate", re.IGNORECASE)
"""What the runtime says for want of memory; that it names an allocator among its own functions means nothing."""


class Card(Protocol):
    """What every card says."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its graph."""
        ...

    @property
    def int8(self) -> str | None:
        """SHA-256 of the same network in whole numbers; None where there is none."""
        ...


C = TypeVar("C", bound=Card)


@dataclass(frozen=True)
class Signature:
    """What a kind of model takes and gives.

    Parameters
    ----------
    input, output
        Names in the graph.
    element
        ONNX Runtime's name of the input's type; outputs are ``tensor(float)``.
    takes, gives
        Lengths of the axes; None where any length must do.
    besides
        Name of a second output that may be there, of numbers of any size, (N, any).
    """

    input: str
    output: str
    element: str
    takes: tuple[int | None, ...]
    gives: tuple[int | None, ...]
    besides: str | None = None


class CardFields:
    """Fields of a card, each of the kind and in the range that is asked for.

    Raises
    ------
    ModelError
        From every method: the field is missing, or of another kind or size.
    """

    def __init__(self, path: Path, fields: dict[str, Any], way_out: str, within: str = "") -> None:
        self.path, self.fields, self.way_out, self._within = path, fields, way_out, within

    def text(self, name: str) -> str:
        """Text that is not empty."""
        value = self._value(name)
        if isinstance(value, str) and value:
            return value
        raise self._fault(name, "a text")

    def texts(self, name: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """Several texts."""
        value = self._value(name, default)
        if isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
            return tuple(value)
        raise self._fault(name, "a list of texts")

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A number above ``low`` and below ``high``."""
        value = self._value(name, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and low < value < high:
            return float(value)
        between = f"a number above {low:g} and below {high:g}" if math.isfinite(low) else "a finite number"
        raise self._fault(name, between)

    def numbers(self, name: str, low: float, high: float) -> NDArray[np.float64]:
        """Several numbers, each above ``low`` and below ``high``, float64 (N,)."""
        value = self._value(name)
        if isinstance(value, list) and all(isinstance(one, int | float) and low < one < high for one in value):
            return np.array(value, np.float64)
        ends = [f"{word} {end:g}" for word, end in (("above", low), ("below", high)) if math.isfinite(end)]
        raise self._fault(name, " ".join(["a list of finite numbers", *([" and ".join(ends)] if ends else [])]))

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self._value(name)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise self._fault(name, f"a whole number from {low:,} to {high:,}")

    def sha256_in(self, name: str) -> str | None:
        """The SHA-256 that an object tells; None where there is no such object."""
        return self.part(name).text("sha256") if name in self else None

    def part(self, name: str, default: dict[str, Any] | None = None) -> CardFields:
        """Fields within a field."""
        value = self._value(name, default)
        if not isinstance(value, dict):
            raise self._fault(name, "an object")
        return CardFields(self.path, value, self.way_out, f"{self._within}{name}.")

    def __contains__(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def _value(self, name: str, default: Any = None) -> Any:
        value = self.fields.get(name)
        if value is not None:
            return value
        if default is None:
            raise ModelError(self.path, f"lacks the field '{self._within}{name}'", self.way_out)
        return default

    def _fault(self, name: str, expected: str) -> ModelError:
        shown = repr(self.fields.get(name))[:60]
        return ModelError(self.path, f"says {self._within}{name} is {shown}, expected {expected}", self.way_out)


def read_fields(path: Path, way_out: str, schema: int) -> CardFields:
    """Read a card.

    Raises
    ------
    ModelError
        Where it is missing, is no JSON or has another schema.
    """
    if not path.exists():
        raise ModelError(path, "is missing; a model is not used without its card", way_out)
    fields = read_json(path, ModelError, way_out, "a model card")
    if not isinstance(fields, dict):
        raise ModelError(path, "is not a model card: it holds no object", way_out)
    found = CardFields(path, fields, way_out)
    number = found.whole("schema", 0, 1_000_000)
    if number != schema:
        raise ModelError(path, f"has schema {number}, this program reads {schema}", way_out)
    return found


def checked(graph: Path, read: Callable[[Path], C], way_out: str) -> C:
    """Read the card beside a graph and check that the two belong together.

    Raises
    ------
    ModelError
        Where the graph is missing, is another than the card's, or may not be run.
    """
    content = _content(graph, way_out)
    card = read(graph.with_suffix(".json"))
    _check(graph, content, card.sha256, way_out)
    if card.int8 is not None:
        whole = graph.with_suffix(INT8_SUFFIX)
        if not whole.exists():
            raise ModelError(whole, f"is missing; the card of {graph.name} says that it lies beside it", way_out)
        _check(whole, _content(whole, way_out), card.int8, way_out)
    return card


def _check(graph: Path, content: bytes, sha256: str, way_out: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            graph, f"does not belong to its card: SHA-256 {found[:12]}…, the card says {sha256[:12]}…", way_out
        )
    fault = fault_of(content)
    if fault:
        raise ModelError(graph, fault, way_out)


def _content(graph: Path, way_out: str) -> bytes:
    if not graph.exists():
        raise ModelError(graph, "is missing", way_out)
    if not graph.is_file():
        raise ModelError(graph, "is no file", way_out)
    size = graph.stat().st_size
    if size > MOST_GRAPH_BYTES:
        raise ModelError(graph, f"is {size / 1e9:.1f} GB large, too large for a model of this program", way_out)
    try:
        return graph.read_bytes()
    except OSError as error:
        raise ModelError(graph, f"cannot be read ({error.strerror})", way_out) from error


_NO_CARD = (
    "ONNX Runtime sees no graphics card that it can use. Put onnxruntime-gpu in the place of onnxruntime, with the "
    "CUDA that it asks for, or leave --device cuda out"
)


def providers_of(device: Device) -> list[str]:
    """Providers of ONNX Runtime that a model may run on, the wanted one first.

    Raises
    ------
    InstallationError
        Where a graphics card is asked for, and this installation of ONNX Runtime cannot use one.
    """
    card = CUDA_PROVIDER in onnxruntime.get_available_providers()
    if device is Device.cuda and not card:
        raise InstallationError(_NO_CARD)
    return [CUDA_PROVIDER, CPU_PROVIDER] if card and device is not Device.cpu else [CPU_PROVIDER]


def provider_part(card: Card, provider: str) -> dict[str, str]:
    """What a stage's key says of what ran its model; nothing of a processor without a graph in whole numbers."""
    if provider != CPU_PROVIDER:
        return {"provider": provider}
    return {} if card.int8 is None else {INT8: card.int8}


class Runner:
    """A graph in ONNX Runtime that takes and gives what its kind does. Runs from several threads at once.

    Parameters
    ----------
    graph, sha256
        The file, and what :func:`checked` found in it: what runs is what was checked.
    signature
        What it must take and give.
    options
        Of ONNX Runtime.
    device
        Where it runs.
    way_out
        What the user can do where it is refused.

    Raises
    ------
    ModelError
        Where it cannot be run, or takes or gives something else.
    InstallationError
        Where it shall run on a graphics card, and ONNX Runtime does not see one.
    MemoryError
        Where the runtime has not enough memory.
    """

    def __init__(
        self,
        graph: Path,
        sha256: str,
        signature: Signature,
        options: onnxruntime.SessionOptions,
        device: Device,
        way_out: str,
    ) -> None:
        self._graph, self._signature, self._way_out = graph, signature, way_out
        content = _content(graph, way_out)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelError(graph, "was changed while it was in use", way_out)
        # Errors only, and those are told by what it raises.
        options.log_severity_level = 4
        providers = providers_of(device)
        with self._runtime("cannot be run"):
            self.session = onnxruntime.InferenceSession(content, options, providers=providers)
        if device is Device.cuda and self.provider != CUDA_PROVIDER:
            raise InstallationError(_NO_CARD)
        self._check_port("takes", self.session.get_inputs(), signature.input, signature.element, signature.takes)
        outputs = self.session.get_outputs()
        self.gives_besides = len(outputs) > 1 and outputs[-1].name == signature.besides
        if self.gives_besides:
            besides = outputs.pop()
            if besides.type != "tensor(float)" or len(besides.shape) != _MATRIX:
                msg = (
                    f"gives {besides.name}: {besides.type} {_shown(besides.shape)}, expected tensor(float) any x any"
                )
                raise ModelError(graph, msg, way_out)
        self._check_port("gives", outputs, signature.output, "tensor(float)", signature.gives)

    @property
    def provider(self) -> str:
        """The first of the providers that the runtime took, which runs what it can."""
        return str(self.session.get_providers()[0])

    def run(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Run the graph and judge what it gives.

        Raises
        ------
        ModelError
            Where it fails, or gives what is no probability.
        MemoryError
            Where the runtime has not enough memory.
        """
        return self._run([self._signature.output], values)[0]

    def run_both(self, values: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the graph for its second output too, which must be there; the errors are those of :meth:`run`."""
        found, besides = self._run([self._signature.output, str(self._signature.besides)], values)
        if not np.isfinite(besides).all():
            raise ModelError(self._graph, f"gives {self._signature.besides} that are no numbers", self._way_out)
        return found, besides

    def _run(self, outputs: list[str], values: NDArray[Any]) -> list[NDArray[np.float32]]:
        with self._runtime("failed while it ran"), span(f"model {self._graph.stem}"):
            results: list[NDArray[np.float32]] = self.session.run(outputs, {self._signature.input: values})
        found = results[0]
        if found.size:
            low, high = float(found.min()), float(found.max())
            if not (low >= -ROUNDING and high <= 1 + ROUNDING):
                what = "numbers that are none" if math.isnan(low + high) else f"values from {low:.3g} to {high:.3g}"
                raise ModelError(self._graph, f"gives {what}, expected probabilities from 0 to 1", self._way_out)
        return results

    def run_alone(self, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Run the graph once to see that it gives something of this shape."""
        found = self.run(values)
        if found.shape != shape:
            msg = f"gives {_shown(found.shape)} for {_shown(values.shape)}, expected {_shown(shape)}"
            raise ModelError(self._graph, msg, self._way_out)
        return found

    def _check_port(
        self, verb: str, ports: Sequence[Any], name: str, element: str, shape: tuple[int | None, ...]
    ) -> None:
        found = ", ".join(f"{port.name}: {port.type} {_shown(port.shape)}" for port in ports) or "nothing"
        fits = len(ports) == 1 and ports[0].name == name and ports[0].type == element
        lengths = ports[0].shape if fits else []
        if not fits or len(lengths) != len(shape) or not all(map(_fits, lengths, shape)):
            msg = f"{verb} {found}, expected {name}: {element} {_shown(shape)}"
            raise ModelError(self._graph, msg, self._way_out)

    @contextmanager
    def _runtime(self, what: str) -> Iterator[None]:
        try:
            yield
        except ModelError:
            raise
        except Exception as error:  # the runtime raises a class of its own for each defect of a graph
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
                raise MemoryError(reason) from error
            raise ModelError(self._graph, f"{what} ({reason})", self._way_out) from error


def run_on(device: Device, graph: Path, card: Card, run: Callable[[Path, str, Device], Runner]) -> Runner:
    """Run a model's graph on a device: on a processor in whole numbers, where there is such a graph.

    A graphics card is no quicker with those. One that is only listed is none: then the processor's graph runs too.

    Parameters
    ----------
    run
        Makes a :class:`Runner` of a graph, its SHA-256 and a device.
    """
    if card.int8 is None or device is Device.cuda:
        return run(graph, card.sha256, device)
    if providers_of(device) != [CPU_PROVIDER]:
        runner = run(graph, card.sha256, device)
        if runner.provider != CPU_PROVIDER:
            return runner
    return run(graph.with_suffix(INT8_SUFFIX), card.int8, Device.cpu)


def _fits(found: int | str | None, expected: int | None) -> bool:
    """Whether an axis of a graph can have the length expected; a name, or nothing, stands for any length."""
    return not isinstance(found, int) if expected is None else not isinstance(found, int) or found == expected


def _shown(shape: Sequence[int | str | None]) -> str:
    return " x ".join("any" if length is None else str(length) for length in shape) or "a single value"


_tried: set[tuple[object, ...]] = set()


def try_once(model: tuple[object, ...], attempt: Callable[[], object]) -> None:
    """Try a model the first time that this process loads it; ``model`` is all that makes it another."""
    if model not in _tried:
        attempt()
        _tried.add(model)


@contextmanager
def taking_apart(path: Path, way_out: str) -> Iterator[None]:
    """While a graph is made a network again: whatever does not fit is told of the graph.

    Raises
    ------
    ModelError
        With the reason.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelError(path, f"is no network that can be trained on ({reason})", way_out) from error
