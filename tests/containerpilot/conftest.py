"""The real Consul agent of the Consul tests."""

from tests.adapters.consul.conftest import agent

__all__ = ["agent"]
