"""Every error that Lightmeter raises on purpose, as one tree.

    LightmeterError                  a user's mistake or a broken input: message teaches, exit code 2
    ├── UsageError                   an argument, option or name that cannot be used
    ├── DataError                    pictures, tables and splits
    │   ├── SourceError              no such source, nothing in it, or not a layout we know
    │   ├── BadImageError            bytes that cannot become a canvas
    │   │   └── ForeignImageError    they are of no kind of picture that is read
    │   └── LeakError                test pictures that stand in train too
    ├── RecipeError                  a recipe that contradicts itself or its data
    ├── WeightsError                 start weights that do not fit the model
    ├── BudgetError                  a budget too short for any honest result
    ├── TrainingError                training cannot go on (loss not finite, memory too small)
    ├── StorageError                 a file or folder that cannot be written or read
    ├── FormatError                  a format number we do not know, or a file not of the kind expected
    ├── BundleError                  a bundle that is incomplete or was changed
    ├── ServerError                  a server that refuses, or does not answer
    └── GateError                    a check that must hold did not: exit code 1
        └── ExamError                an exported or served model disagrees with its exam

`assert` is never used for these: an AssertionError is a bug of ours.
"""

from __future__ import annotations


class LightmeterError(Exception):
    """A mistake that the user can mend.

    The message is built from three parts: what was received, what was expected, and how to fix it.
    """

    exit_code = 2

    def __init__(self, received: str, expected: str = "", fix: str = "") -> None:
        self.received, self.expected, self.fix = received, expected, fix
        lines = [received]
        if expected:
            lines.append(f"Expected: {expected}")
        if fix:
            lines.append(f"To fix it: {fix}")
        super().__init__("\n".join(lines))


class UsageError(LightmeterError):
    """An argument, option or name that cannot be used."""


class DataError(LightmeterError):
    """Something is wrong with the pictures, the table or the split."""


class SourceError(DataError):
    """No such source, nothing in it, or a layout that we do not know."""


class BadImageError(DataError):
    """Bytes that cannot become a canvas; `received` is the reason, without any path."""


class ForeignImageError(BadImageError):
    """Bytes of no kind of picture that is read."""


class LeakError(DataError):
    """Pictures of the test split stand in the training split too."""


class RecipeError(LightmeterError):
    """A recipe that contradicts itself or its data."""


class WeightsError(LightmeterError):
    """Start weights that do not fit the model."""


class BudgetError(LightmeterError):
    """A budget too short for any honest result."""


class TrainingError(LightmeterError):
    """Training cannot go on."""


class StorageError(LightmeterError):
    """A file or folder that cannot be written or read."""


class FormatError(LightmeterError):
    """An unknown format number, or a file that is not of the kind expected."""


class BundleError(LightmeterError):
    """A bundle that is incomplete or was changed after it was written."""


class ServerError(LightmeterError):
    """A server that refuses, or does not answer."""


class GateError(LightmeterError):
    """A check that must hold did not hold."""

    exit_code = 1


class ExamError(GateError):
    """An exported or served model disagrees with the exam that its bundle carries."""
