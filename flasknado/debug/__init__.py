"""Development mode (`--debug`): the debugger, the files that are watched, the browser, the log.

Nothing of it is imported when the mode is off.
"""
