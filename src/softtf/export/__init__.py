"""A learner as files that others run: graphs that answer like it, or one task as a plain model of its library."""
