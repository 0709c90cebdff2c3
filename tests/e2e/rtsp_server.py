"""A real RTSP server (GStreamer's) that shows one H.264 file; run by the system's Python, which has its bindings.

    /usr/bin/python3 rtsp_server.py FILE.mp4 PORT [USER PASSWORD]

Prints "ready" when it listens, and serves rtsp://127.0.0.1:PORT/cam until it is killed.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402


def main() -> None:
    file, port, *login = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(
        f'( filesrc location="{file}" ! qtdemux ! rtph264pay name=pay0 pt=96 config-interval=-1 )'
    )
    if login:
        guard = GstRtspServer.RTSPAuth.new()
        guard.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        guard.add_digest(*login, token)
        server.set_auth(guard)
        allowed = GstRtspServer.RTSPPermissions()
        for what in ("media.factory.access", "media.factory.construct"):
            allowed.add_permission_for_role("viewer", what, True)
        factory.set_permissions(allowed)
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
