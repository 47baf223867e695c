"""One Lightning under two names, `lightning` and `pytorch_lightning`: both are served.

Our callback must be a `Callback` of the package that a user's Trainer comes from, whichever it is and whether it is
imported before our classes or after them. So our classes take the package's own as a base when it is imported, and none
is imported from here, but for its Fabric when processes are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from subprocess import Popen
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

Result = TypeVar("Result")

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_FABRICS = ("lightning.fabric", "lightning_fabric")
_MISCONFIGURATION = "utilities.exceptions.MisconfigurationException"


def loaded(name: str) -> tuple[Any, ...]:
    """Return a class of each package that is imported, for ``isinstance``: an object of a class has its package loaded.

    Args:
        name: Module below the package, and class, such as ``"callbacks.EarlyStopping"``.
    """
    return _found(_PACKAGES, name)


def trainer_for(module: object) -> Any:
    """Return the Trainer class of the package that a module's class comes from.

    Raises:
        TypeError: If it is no LightningModule.
    """
    for package in _PACKAGES:
        found = sys.modules.get(package)
        kind = getattr(found, "LightningModule", None)
        if isinstance(kind, type) and isinstance(module, kind):
            return found.Trainer  # type: ignore[union-attr]
    raise TypeError(f"Expected a LightningModule, but got {type(module).__name__}.")


def each_loader(loaders: Any) -> Iterator[Any]:
    """Yield the loaders of a nested collection (None: none) in the order in which Lightning numbers them."""
    if not isinstance(loaders, (list, tuple, dict)):
        yield from () if loaders is None else (loaders,)
        return
    for part in loaders.values() if isinstance(loaders, dict) else loaders:
        yield from each_loader(part)


def lightning_package() -> Any:
    """Return the package whose Trainer we start ourselves: the imported one, else the installed one.

    Raises:
        ModuleNotFoundError: If neither is installed.
    """
    check_installed()
    found = next((sys.modules[name] for name in _PACKAGES if name in sys.modules), None)
    return found or import_module(next(name for name in _PACKAGES if find_spec(name.partition(".")[0])))


def on_each_device(
    accelerator: str, devices: int | str | Sequence[int], strategy: object
) -> Callable[[Callable[[Any, int], Result]], Result]:
    """Return what does work in a process per device, as Lightning Fabric places them.

    It calls the work with the device of a process and its number among all of them, and returns what that returned in
    this one. Processes are started as the strategy does, or are those that SLURM or torchrun started. They are not
    joined to a group: there is nothing that one could wait for in vain.

    Args:
        accelerator: What Fabric knows by that name, such as ``"auto"``, ``"cpu"``, ``"cuda"``.
        devices: How many of them, or which.
        strategy: Name or object of one of Fabric's strategies.

    Raises:
        ModuleNotFoundError: If neither package is installed.
        ValueError: If Fabric knows no such strategy, or there are no such devices.
    """
    package = _FABRICS[_PACKAGES.index(lightning_package().__name__)]
    try:
        placed = import_module(package).Fabric(accelerator=accelerator, devices=devices, strategy=strategy).strategy
    except Exception as error:
        if is_misconfiguration(error):
            raise ValueError(str(error)) from error
        raise
    alone = import_module(f"{package}.plugins.environments").LightningEnvironment
    is_of_cluster = not isinstance(getattr(placed, "cluster_environment", None), (alone, type(None)))

    def started(work: Callable[[Any, int], Result]) -> Result:
        there = partial(_work_there, placed, work)
        if placed.launcher is None or is_of_cluster:  # whose number of machines is no matter
            return there()
        result: Result = placed.launcher.launch(there)
        for process in getattr(placed.launcher, "procs", []):  # those that it started by running the script again
            if isinstance(process, Popen):
                process.wait()
        return result

    return started


def _work_there(placed: Any, work: Callable[[Any, int], Result]) -> Result:
    placed.accelerator.setup_device(placed.root_device)
    return work(placed.root_device, getattr(placed, "global_rank", 0))


def check_installed() -> None:
    """Raise ModuleNotFoundError unless one of the two packages is installed."""
    if not any(package in sys.modules or find_spec(package) for package in ("lightning", "pytorch_lightning")):
        raise ModuleNotFoundError(
            "Expected `lightning` or `pytorch_lightning` to be installed, because its Trainer calls an "
            "ExplanationMonitor and its Fabric places processes, but found neither: pip install lightning"
        )


def is_misconfiguration(error: BaseException | None) -> bool:
    """Return whether an error is one of a user's settings: ours, or one that Lightning raised."""
    return isinstance(error, (MisconfigurationException, *_found(_FABRICS, _MISCONFIGURATION)))


def _found(packages: Sequence[str], name: str) -> tuple[Any, ...]:
    module, _, attribute = name.rpartition(".")
    modules = (sys.modules.get(f"{package}.{module}") for package in packages)
    found = (getattr(one, attribute, None) for one in modules)
    return tuple(one for one in found if isinstance(one, type))  # documentation tools put mocks in place of packages


if TYPE_CHECKING:
    import lightning.fabric.utilities.exceptions
    import lightning.pytorch.callbacks
    import lightning.pytorch.loggers
    import lightning_fabric.utilities.exceptions
    import pytorch_lightning.callbacks
    import pytorch_lightning.loggers

    Trainer: TypeAlias = lightning.pytorch.Trainer | pytorch_lightning.Trainer
    LightningModule: TypeAlias = lightning.pytorch.LightningModule | pytorch_lightning.LightningModule
    Logger: TypeAlias = lightning.pytorch.loggers.Logger | pytorch_lightning.loggers.Logger
    TensorBoardLogger: TypeAlias = (
        lightning.pytorch.loggers.TensorBoardLogger | pytorch_lightning.loggers.TensorBoardLogger
    )
    WandbLogger: TypeAlias = lightning.pytorch.loggers.WandbLogger | pytorch_lightning.loggers.WandbLogger
    MLFlowLogger: TypeAlias = lightning.pytorch.loggers.MLFlowLogger | pytorch_lightning.loggers.MLFlowLogger
    RichProgressBar: TypeAlias = (
        lightning.pytorch.callbacks.RichProgressBar | pytorch_lightning.callbacks.RichProgressBar
    )

    class Callback(lightning.pytorch.callbacks.Callback, pytorch_lightning.callbacks.Callback): ...  # type: ignore[misc]

    class EarlyStopping(  # type: ignore[misc]
        lightning.pytorch.callbacks.EarlyStopping, pytorch_lightning.callbacks.EarlyStopping
    ): ...

    class ModelCheckpoint(  # type: ignore[misc]
        lightning.pytorch.callbacks.ModelCheckpoint, pytorch_lightning.callbacks.ModelCheckpoint
    ): ...

    class MisconfigurationException(
        lightning.fabric.utilities.exceptions.MisconfigurationException,
        lightning_fabric.utilities.exceptions.MisconfigurationException,
    ): ...

else:

    class _NoCallback:
        """Holds the place of a base: Python lets no class whose only base is `object` take another."""

    class Callback(_NoCallback):
        """A callback for Trainers of either package."""

    class EarlyStopping(_NoCallback):
        """An early stopping of either package; it begins without what Lightning's own constructor sets."""

    class ModelCheckpoint(_NoCallback):
        """A checkpoint callback of either package; see `EarlyStopping`."""

    class _NoError(Exception):
        """See `_NoCallback`."""

    class MisconfigurationException(_NoError):  # noqa: N818 - as it is called there
        """A run that cannot work as it is set up: the exception of that name of either package."""


class _Arrivals:
    """Sees imports go by, and finds nothing itself: the first one after a class of Lightning's makes it a base of ours.

    Each package goes on importing dozens of its modules after these two.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004
        """Return None: others find the module."""
        _take_bases()
        return None


def _take_bases() -> None:
    _extend(Callback, _found(_PACKAGES, "callbacks.callback.Callback"))
    _extend(EarlyStopping, _found(_PACKAGES, "callbacks.early_stopping.EarlyStopping"))
    _extend(ModelCheckpoint, _found(_PACKAGES, "callbacks.model_checkpoint.ModelCheckpoint"))
    _extend(MisconfigurationException, _found(_FABRICS, _MISCONFIGURATION))


def _extend(ours: type, theirs: Sequence[type]) -> None:
    bases = ours.__bases__
    if not set(theirs) <= set(bases):
        ours.__bases__ = tuple(dict.fromkeys([*theirs, *bases]))


_take_bases()
sys.meta_path.insert(0, _Arrivals())
