select size from tree
