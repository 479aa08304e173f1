"""What operators read: the access log and the error log."""
