"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine makes nothing wrong: no property is judged by how long an example took.
settings.register_profile("guqiao", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("guqiao")
