"""The back rooms: what serves the course and no lecture opens."""
