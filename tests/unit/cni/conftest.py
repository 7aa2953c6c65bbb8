from tests.unit.node.conftest import control_plane, folder, node, own_netns

__all__ = ["control_plane", "folder", "node", "own_netns"]
