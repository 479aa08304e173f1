"""A load shape for locust: a tenth of `--users`, suddenly all of them, and a tenth again.

locust -f loadtests/locustfile.py,loadtests/shapes/spike.py --users 100 --run-time 2m
"""

from __future__ import annotations

from locust import LoadTestShape

CALM_SHARE = 0.1
BEGINS, ENDS = 0.4, 0.6
"""When the spike is, as shares of the run's time."""


class Spike(LoadTestShape):
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options = self.runner.environment.parsed_options
        elapsed = self.get_run_time() / (options.run_time or 120)
        if elapsed >= 1:
            return None
        users = options.num_users or 100
        if not BEGINS <= elapsed < ENDS:
            users = max(1, round(users * CALM_SHARE))
        return users, users
