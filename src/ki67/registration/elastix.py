"""Elastix, which comes in two packages: the only module that knows how either is called.

Both hold the same elastix and are asked in its own words, parameters as text. One process loads only one of them:
each would take the other's lists of parameters for its own and crash.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ki67.errors import InstallationError, RegistrationError
from ki67.jobs import current, span

SIMPLE_ELASTIX: Final = "SimpleITK-SimpleElastix"
PINNED: Final = "3.0.0a1.post183"
"""The release that was tried (decision 020). All of them are pre-releases, which pip takes only by their numbers."""
ITK_ELASTIX: Final = "itk-elastix"

Kind = Literal["rigid", "affine", "bspline"]
Parameters = dict[str, tuple[str, ...]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """One run of elastix.

    Parameters
    ----------
    name
        The fixed image, for messages.
    fixed, moving
        Images (H, W) on one grid; elastix's unit of length is their pixel.
    fixed_mask, moving_mask
        Where samples are drawn, and where the moving image holds something (None: everywhere), (H, W).
    kind, resolutions
        Which of elastix's default parameter maps is taken, and for how many levels of its pyramid.
    changes
        What is set otherwise than there, by elastix's names; for "bspline" both spacings of the grid, since the
        packages' own differ.
    """

    name: str
    fixed: NDArray[np.float32]
    moving: NDArray[np.float32]
    fixed_mask: NDArray[np.bool_]
    moving_mask: NDArray[np.bool_] | None
    kind: Kind
    resolutions: int
    changes: Mapping[str, tuple[str, ...]]


class Elastix(Protocol):
    """A package that holds elastix. Both methods run it on one thread and leave no file behind.

    Raises
    ------
    RegistrationError
        Where elastix cannot run on these images (no overlap, flat image).
    """

    @property
    def package(self) -> str:
        """Its name in the package index."""
        ...

    def parameters(self, task: Task) -> Parameters:
        """Parameters of the transform found, by elastix's names."""
        ...

    def displacements_px(self, task: Task) -> NDArray[np.float32]:
        """Displacements (H, W, 2) in pixels, x before y, of the transform found."""
        ...


class SimpleElastix:
    """SimpleITK built with elastix (Marstal et al., CVPR workshops 2016), the paper's toolbox."""

    package = SIMPLE_ELASTIX

    def __init__(self) -> None:
        self._sitk: Any = import_module("SimpleITK")

    def parameters(self, task: Task) -> Parameters:
        """As :class:`Elastix` says."""
        found = self._run(task)
        return {name: tuple(found[name]) for name in found}

    def displacements_px(self, task: Task) -> NDArray[np.float32]:
        """As :class:`Elastix` says."""
        with tempfile.TemporaryDirectory() as folder:
            transformix = self._sitk.TransformixImageFilter()
            transformix.SetMovingImage(self._image(task.moving))
            transformix.SetTransformParameterMap(self._run(task))
            transformix.ComputeDeformationFieldOn()
            transformix.SetOutputDirectory(folder)
            transformix.LogToConsoleOff()
            transformix.LogToFileOff()
            _run_of(task, transformix.Execute)
            return np.array(self._sitk.GetArrayViewFromImage(transformix.GetDeformationField()), np.float32)

    def _image(self, pixels: NDArray[Any]) -> Any:
        return self._sitk.GetImageFromArray(np.ascontiguousarray(pixels))

    def _run(self, task: Task) -> Any:
        method = self._sitk.ElastixImageFilter()
        method.SetFixedImage(self._image(task.fixed))
        method.SetMovingImage(self._image(task.moving))
        method.SetFixedMask(self._image(task.fixed_mask.astype(np.uint8)))
        if task.moving_mask is not None:
            method.SetMovingMask(self._image(task.moving_mask.astype(np.uint8)))
        wanted = self._sitk.GetDefaultParameterMap(task.kind, task.resolutions)
        for name, values in task.changes.items():
            wanted[name] = values
        method.SetParameterMap(wanted)
        method.SetNumberOfThreads(1)
        # Else it writes two files into the current folder, and a word to standard output.
        method.RemoveOutputDirectory()
        method.LogToConsoleOff()
        method.LogToFileOff()
        _run_of(task, method.Execute)
        return method.GetTransformParameterMap()[0]


class ItkElastix:
    """itk-elastix, for systems that the other package has no wheel for or was not tried on.

    Each class is taken from its own module. Asked for by its name in ``itk``, the first of them would load all that
    elastix depends on: 9 s and 0.5 GB more, for types that are not used here. These names are the wrapping's own:
    they were the same from itk-elastix 0.23 to 0.25, and a later one must be tried before it is allowed.
    """

    package = ITK_ELASTIX

    def __init__(self) -> None:
        self._itk: Any = import_module("itk")
        self._parameters: Any = import_module("itk.elxParameterObjectPython").elastixParameterObject
        registration = import_module("itk.itkElastixRegistrationMethodPython")
        self._registration: Any = registration.itkElastixRegistrationMethodIF2IF2
        self._transformix: Any = import_module("itk.itkTransformixFilterPython").itkTransformixFilterIF2

    def parameters(self, task: Task) -> Parameters:
        """As :class:`Elastix` says."""
        found = self._run(task).GetParameterMap(0)
        return {name: tuple(found[name]) for name in found}

    def displacements_px(self, task: Task) -> NDArray[np.float32]:
        """As :class:`Elastix` says."""
        with tempfile.TemporaryDirectory() as folder:
            transformix = self._transformix.New()
            transformix.SetMovingImage(self._image(task.moving))
            transformix.SetTransformParameterObject(self._run(task))
            transformix.SetComputeDeformationField(True)
            transformix.SetOutputDirectory(folder)
            transformix.SetLogToConsole(False)
            _run_of(task, transformix.UpdateLargestPossibleRegion)
            return np.array(self._itk.array_from_image(transformix.GetOutputDeformationField()), np.float32)

    def _image(self, pixels: NDArray[Any]) -> Any:
        return self._itk.image_from_array(np.ascontiguousarray(pixels))

    def _run(self, task: Task) -> Any:
        wanted = self._parameters.GetDefaultParameterMap(task.kind, task.resolutions)
        for name, values in task.changes.items():
            wanted[name] = list(values)
        parameters = self._parameters.New()
        parameters.AddParameterMap(wanted)
        method = self._registration.New()
        method.SetFixedImage(self._image(task.fixed))
        method.SetMovingImage(self._image(task.moving))
        method.SetParameterObject(parameters)
        method.SetFixedMask(self._image(task.fixed_mask.astype(np.uint8)))
        if task.moving_mask is not None:
            method.SetMovingMask(self._image(task.moving_mask.astype(np.uint8)))
        method.SetLogToConsole(False)
        method.SetLogToFile(False)
        method.SetNumberOfThreads(1)
        _run_of(task, method.UpdateLargestPossibleRegion)
        return method.GetTransformParameterObject()


@cache
def elastix() -> Elastix:
    """The installed package that holds elastix, loaded late; SimpleElastix where both do.

    Raises
    ------
    InstallationError
        Where there is none. SimpleITK as most know it has the same module name and no elastix; whichever of the two
        is installed last overwrites the other.
    """
    plain = False
    if find_spec("SimpleITK") is not None:
        if hasattr(import_module("SimpleITK"), "ElastixImageFilter"):
            return SimpleElastix()
        plain = True
    if find_spec("itk") is not None and find_spec("itk.elxParameterObjectPython") is not None:
        return ItkElastix()
    found = (
        f"the module SimpleITK that is installed has no elastix: SimpleITK took the place of {SIMPLE_ELASTIX}"
        if plain
        else "registration needs elastix, which is not installed"
    )
    remove = "pip uninstall SimpleITK, then " if plain else ""
    msg = f"{found}. Mend it with: {remove}pip install --force-reinstall --no-deps {SIMPLE_ELASTIX}=={PINNED}"
    raise InstallationError(msg)


def _run_of(task: Task, execute: Callable[[], Result]) -> Result:
    current().stop_if_cancelled()
    try:
        with span(f"elastix {task.name}"):
            return execute()
    except RuntimeError as error:
        reason = (str(error).strip() or "no reason given").splitlines()[-1].removeprefix("Description: ")
        msg = f"elastix cannot register {task.name}: {reason}"
        raise RegistrationError(msg) from error
