"""Several servers behind one nginx, on one port (docs/scaling.md).

python -m config.nginx                                          two of this project's servers
python -m config.nginx -- flasknado shop:app --bind 127.0.0.1:{port}     two of another one
"""
