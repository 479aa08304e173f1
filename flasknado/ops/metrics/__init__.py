"""Numbers for operators: counted in each worker, added up, exposed to Prometheus."""
