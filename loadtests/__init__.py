"""Load tests: against Flask's own server under locust, and against the field under wrk.

python -m loadtests.compare      (make loadtest)
python -m loadtests.bench        (make bench)
"""
