"""A load shape for locust: `--users` come slowly and stay, for an hour if nothing else is said.

What leaks or slows down in the long run shows here.
locust -f loadtests/locustfile.py,loadtests/shapes/soak.py --users 50 --run-time 8h
"""

from __future__ import annotations

from locust import LoadTestShape

RISE_S = 60


class Soak(LoadTestShape):
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options = self.runner.environment.parsed_options
        if self.get_run_time() >= (options.run_time or 3600):
            return None
        users = options.num_users or 50
        return users, max(0.1, users / RISE_S)
