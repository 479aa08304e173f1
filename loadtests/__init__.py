"""Load tests: against Flask's own server under locust, and against the field under wrk.

python -m loadtests.loadtest     (make loadtest)
python -m loadtests.web
python -m loadtests.compare A B
python -m loadtests.bench        (make bench)
"""
