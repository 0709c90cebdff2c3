"""X-VLM, X2-VLM and CMP: published checkpoints, read from a path in their authors' own key names.

``model`` has the encoders, ``files`` reads and converts checkpoints, ``keys`` holds a checkpoint's names and shapes
against the model's, ``nets`` (with ``swin``, ``beit``, ``bert``) is the inference side in torch, ``text`` cleans and
tokenises captions, ``skeleton`` draws the pose maps CMP looks at. Needs the ``[torch]`` extra.
"""
