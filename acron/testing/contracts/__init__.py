"""One suite per contract of ``acron.abc``; whoever implements one passes it."""
