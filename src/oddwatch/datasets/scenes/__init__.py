"""The scene generator: labelled synthetic footage of people, drawn with numpy and OpenCV."""
