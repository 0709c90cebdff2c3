"""Chat models, asked only where the user configured one."""
