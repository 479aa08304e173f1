"""A load shape for locust: more and more users, in ten steps, up to `--users`.

locust -f loadtests/locustfile.py,loadtests/shapes/ramp.py --users 100 --run-time 2m
"""

from __future__ import annotations

from locust import LoadTestShape

STEPS = 10


class Ramp(LoadTestShape):
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        options = self.runner.environment.parsed_options
        run_time_s = options.run_time or 120
        elapsed = self.get_run_time() / run_time_s
        if elapsed >= 1:
            return None
        users = max(1, round((options.num_users or 100) * (int(elapsed * STEPS) + 1) / STEPS))
        return users, users
