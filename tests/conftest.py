"""What holds for every test: how long a machine takes to make up examples says nothing about the product."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("gatepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatepost")
