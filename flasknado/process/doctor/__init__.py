"""`flasknado doctor [options] MODULE:APP`: what will be different here, before the move.

findings        what is found, and how much it matters
configuration   the settings, all of them looked at even if one will not do
application     the application, imported and looked at in a process of its own
rewrite         a configuration file for this server, made from that for gunicorn
command         the command line
"""
