"""What comes in: sources, pictures, videos, the people in them, their tracks, and moments.

Import from the modules; importing this room loads none of them.
"""
