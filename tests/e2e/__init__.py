"""Real servers, real containers, real clients."""
