"""The messages that pass between the control plane and its agents.

Standard library only: a gateway runs this code on a stock image. `messages` holds the shapes, `codec` turns
them into JSON and back, `http` carries them.
"""
