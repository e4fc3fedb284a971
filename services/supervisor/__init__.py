"""The whole system on one machine: `run_system` is what `avila up` runs."""

from services.supervisor.system import run_system

__all__ = ["run_system"]
