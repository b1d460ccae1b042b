"""Three replicas behind nginx, as their overlay has them, replaced, killed and left by their Redis under load."""
