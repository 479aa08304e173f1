"""Static files, answered on the event loop: no thread of the pool, and no application, is asked."""
