"""poc24: the relay between national contact points, and the desk that talks through it."""
