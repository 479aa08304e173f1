"""`flasknado doctor [options] MODULE:APP`: what will be different here, before you move.

findings        what is found, and how much it matters
configuration   the settings, all of them examined even if one is bad
application     the application, imported and examined in a process of its own
rewrite         a configuration file for this server, made from that for gunicorn
command         the command line
"""
