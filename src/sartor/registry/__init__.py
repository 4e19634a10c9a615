"""The embedded store of models: bytes, manifests, names, aliases. It knows no family and runs no model.

``disk``        folders that appear whole or not at all
``header``      the header of a safetensors file, read without loading a weight
``bundle``      a stored model: seal, write, read
``migrations``  the numbered steps of the database
``store``       names, versions, aliases and the event log
``regression``  labelled cases that new versions of a name must still answer
``card``        the README.md of a bundle
"""
